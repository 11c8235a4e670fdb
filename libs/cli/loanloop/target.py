"""Which installation a command works on: the one that runs on the data folder, else the one that the settings name."""

from dataclasses import dataclass
from pathlib import Path

from loanloop_common.errors import LoanloopError, Unavailable
from loanloop_common.installation import fetch_portfolio_name
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import PortfolioInvalid, how_to_name, load_portfolio
from loanloop_common.postgres import UNREACHABLE, Pool, create_pool
from loanloop_common.settings import KafkaSettings, ServiceSettings, SettingsInvalid, kafka_hosts, load_settings

from loanloop.options import DATA_DIR_VARIABLE
from loanloop.runtime.data_directory import RunState, running_state


@dataclass(frozen=True)
class Target:
    """`kafka` and `dsn` raise Unavailable, saying what to do, where neither an option nor a run nor a setting says."""

    data_dir: Path
    run: RunState | None
    settings: ServiceSettings

    def kafka(self, asked: str | None = None) -> KafkaSettings:
        address = asked or (self.run and self.run.kafka_bootstrap)
        if address:
            return kafka_at(address, self.settings)
        if "kafka" not in self.settings.model_fields_set:
            raise self._nothing_runs("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS")
        return self.settings.kafka

    def dsn(self, asked: str | None = None, *, read_only: bool = False) -> str:
        if asked:
            return asked
        if self.run:
            return self.run.postgres_dsn()
        if "postgres" not in self.settings.model_fields_set:
            raise self._nothing_runs("LOANLOOP_POSTGRES__DSN")
        replica = self.settings.postgres.read_only_dsn if read_only else None
        return replica or self.settings.postgres.dsn

    def portfolio_source(self) -> str:
        """A preset's name or a file."""
        return (self.run and self.run.portfolio) or self.settings.portfolio

    def portfolio(self, asked: str | None = None) -> Portfolio:
        return load_portfolio(asked or self.portfolio_source())

    async def served_portfolio(self, pool: Pool) -> Portfolio:
        """Of the database. Raises Unavailable where it does not answer, no service has started, or no file is named."""
        try:
            async with pool.acquire(timeout=5) as connection:
                served = await fetch_portfolio_name(connection)
        except UNREACHABLE as cause:
            raise Unavailable(f"PostgreSQL does not answer: {cause or 'timeout'}") from cause
        if served is None:
            raise Unavailable("the database serves no portfolio yet: no service has started")
        return self.portfolio_named(served)

    async def refuse_other(self, portfolio: Portfolio) -> None:
        """Raises SettingsInvalid where the database serves another one: what is sent would be refused there, each.

        Where only Kafka can be reached from, nobody can tell.
        """
        try:
            pool = await create_pool(self.dsn(), application_name="cli", max_size=1)
        except LoanloopError:
            return
        try:
            async with pool.acquire(timeout=5) as connection:
                served = await fetch_portfolio_name(connection)
        except UNREACHABLE:
            return
        finally:
            pool.terminate()
        if served not in (None, portfolio.name):
            raise SettingsInvalid(
                f"the database serves portfolio {served!r}, and the loans are described by {portfolio.name!r}: "
                f"{how_to_name(str(served))}, or send to another installation by --kafka."
            )

    def portfolio_named(self, served: str) -> Portfolio:
        """A file of one's own is known by its path only; a preset by the name that the database keeps."""
        own = self.portfolio()
        if own.name == served:
            return own
        try:
            return load_portfolio(served)
        except PortfolioInvalid:
            raise Unavailable(
                f"the database serves portfolio {served!r}, the settings say {own.name!r}: {how_to_name(served)}"
            ) from None

    def _nothing_runs(self, variable: str) -> Unavailable:
        if below := [folder for folder in _folders_below(self.data_dir) if running_state(folder)]:
            return Unavailable(
                f"nothing runs on {self.data_dir}, but one runs on {below[0]}: add --data-dir {below[0]}, "
                f"or set {DATA_DIR_VARIABLE}={below[0]}"
            )
        return Unavailable(
            f"nothing runs on {self.data_dir}: start `loanloop up --data-dir {self.data_dir}`, "
            f"name another folder with --data-dir, or set {variable}"
        )


def _folders_below(data_dir: Path) -> list[Path]:
    """Where the demo's installation is, and others that were put there."""
    return sorted(path.parent for path in data_dir.glob("*/run.json"))


def find_target(data_dir: Path) -> Target:
    return Target(data_dir, running_state(data_dir), load_settings(ServiceSettings))


def kafka_at(address: str, settings: ServiceSettings) -> KafkaSettings:
    """As set, for a foreign Kafka may want TLS and a password, but at this address. Raises SettingsInvalid."""
    try:
        return settings.kafka.model_copy(update={"bootstrap_servers": kafka_hosts(address)})
    except ValueError as cause:
        raise SettingsInvalid(f"--kafka is not usable: {cause}.") from cause
