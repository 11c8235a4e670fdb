"""What the commands on models stand on: database and portfolio of an installation, and the evaluator's own code."""

import contextlib
import getpass
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loanloop_common.errors import Unavailable
from loanloop_common.events import ModelDeployed
from loanloop_common.portfolio import Portfolio, load_portfolio
from loanloop_common.postgres import Pool, create_pool
from loanloop_common.settings import ServiceSettings, load_settings

from loanloop.runtime.data_directory import nothing_runs, running_state

if TYPE_CHECKING:
    from loanloop_evaluator.handlers.operator import Operator


def operator_name() -> str:
    """Who is asking, for the audit; `uid 1234` where the machine has no name for them, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return f"uid {os.getuid()}"


@dataclass(frozen=True)
class Operated:
    pool: Pool
    portfolio: Portfolio

    def operator(self) -> "Operator":
        from loanloop_common.loan_codec import LoanCodec
        from loanloop_evaluator.handlers.contender import BundleLoader
        from loanloop_evaluator.handlers.operator import Operator

        codec, policy = LoanCodec(self.portfolio), self.portfolio.policy
        loader = BundleLoader(codec, schema_hash=self.portfolio.schema_hash, threads=1)
        return Operator(
            self.pool,
            slot=self.portfolio.name,
            min_outcomes=policy.min_outcomes,
            load=loader.load,
            actor=operator_name(),
        )

    async def evaluator_runs(self) -> bool:
        runs: bool = await self.pool.fetchval(
            """
            SELECT EXISTS (SELECT FROM loan_data.service_instances
                           WHERE service = 'evaluator' AND seen_at > now() - interval '10 seconds')
            """
        )
        return runs


@contextlib.asynccontextmanager
async def operated(data_dir: Path, *, read_only: bool = False) -> AsyncIterator[Operated]:
    """The installation that runs on the data folder, else the one that the settings name. Raises Unavailable."""
    dsn, portfolio = _where(data_dir, read_only=read_only)
    pool = await create_pool(dsn, application_name="operator", max_size=2)
    try:
        found = await pool.fetchval("SELECT to_regclass('loan_data.installation')")
        served = await pool.fetchval("SELECT portfolio FROM loan_data.installation") if found else None
        if served is None:
            raise Unavailable("the database serves no portfolio yet: no service has started")
        # A portfolio file of one's own is known by its path only; a preset by the name that the database keeps.
        own = load_portfolio(portfolio)
        yield Operated(pool, own if own.name == served else load_portfolio(served))
    finally:
        await pool.close()


def _where(data_dir: Path, *, read_only: bool) -> tuple[str, str]:
    run = running_state(data_dir)
    settings = load_settings(ServiceSettings)
    if run is not None:
        return run.postgres_dsn(), run.portfolio or settings.portfolio
    if "postgres" not in settings.model_fields_set:
        raise nothing_runs(data_dir, "name another folder with --data-dir, or set LOANLOOP_POSTGRES__DSN")
    replica = settings.postgres.read_only_dsn if read_only else None
    return replica or settings.postgres.dsn, settings.portfolio


def say(deployed: ModelDeployed, *, evaluator_runs: bool) -> None:
    """What was done, and who learns of it when."""
    print(f"{deployed.version} is live (deployment {deployed.deployment_seq}, {deployed.kind}).")
    if deployed.pinned:
        print("It is pinned: challengers are judged, not deployed, until you run: loanloop unpin")
    if not evaluator_runs:
        print(
            "No evaluator is running: the event model.deployed is published when one starts. "
            "Predictors read the live version from the database within seconds."
        )
