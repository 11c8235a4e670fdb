"""Which installation a command looks at: the one that runs on the data folder, else the one that the settings name."""

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from loanloop_common.errors import Unavailable
from loanloop_common.kafka.broker import make_broker
from loanloop_common.portfolio import Portfolio, load_portfolio
from loanloop_common.postgres import UNREACHABLE, create_pool
from loanloop_common.settings import KafkaSettings, ServiceSettings, load_settings

from loanloop.observe import queries
from loanloop.observe.lag import KafkaView
from loanloop.observe.observer import Observer
from loanloop.observe.snapshot import Where
from loanloop.runtime.data_directory import nothing_runs, running_state


@dataclass(frozen=True, kw_only=True)
class Target:
    kafka: KafkaSettings
    dsn: str
    where: Where
    portfolio: str | None = None  # as it was started with: a file of one's own is known by its path alone


def find_target(data_dir: Path) -> Target:
    """Raises Unavailable, saying what to start, if nothing runs there and no setting names a database."""
    run = running_state(data_dir)
    if run is not None:
        kafka, dsn = KafkaSettings(bootstrap_servers=run.kafka_bootstrap), run.postgres_dsn()
        where = _where(kafka, dsn, rest=run.rest_url, data_dir=str(data_dir), logs=run.logs)
        return Target(kafka=kafka, dsn=dsn, where=where, portfolio=run.portfolio)
    settings = load_settings(ServiceSettings)
    if "postgres" not in settings.model_fields_set:
        raise nothing_runs(
            data_dir,
            "name another folder with --data-dir, or set LOANLOOP_POSTGRES__DSN and LOANLOOP_KAFKA__BOOTSTRAP_SERVERS",
        )
    dsn = settings.postgres.read_only_dsn or settings.postgres.dsn
    return Target(kafka=settings.kafka, dsn=dsn, where=_where(settings.kafka, dsn), portfolio=settings.portfolio)


def _where(kafka: KafkaSettings, dsn: str, **more: str) -> Where:
    """Without the password."""
    parts = urlsplit(dsn)
    address = f"postgresql://{parts.username or ''}@{parts.hostname}:{parts.port or 5432}{parts.path}"
    return Where(kafka=kafka.bootstrap_servers, postgres=address, rest=more.pop("rest", None), **more)


@contextlib.asynccontextmanager
async def observing(target: Target, portfolio: Portfolio | None = None) -> AsyncIterator[Observer]:
    """Without a portfolio, of the one that the database serves.

    Raises Unavailable if the database does not answer or has no installation yet.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the view itself says that Kafka is away
    pool = await create_pool(target.dsn, application_name="observer", max_size=2)
    try:
        portfolio = portfolio or _served(await _portfolio_name(pool, target), target.portfolio)
        async with KafkaView(**connection_options(target.kafka)) as kafka:
            yield Observer(pool, kafka, portfolio, target.where)
    finally:
        pool.terminate()


def _served(name: str, started_with: str | None) -> Portfolio:
    given = load_portfolio(started_with) if started_with else None
    return given if given is not None and given.name == name else load_portfolio(name)


async def _portfolio_name(pool: asyncpg.Pool, target: Target) -> str:
    try:
        async with pool.acquire(timeout=5) as connection:
            name = await queries.fetch_portfolio_name(connection)
    except asyncpg.UndefinedTableError:
        name = None
    except UNREACHABLE as cause:
        raise Unavailable(f"PostgreSQL at {target.where.postgres} does not answer: {cause}") from cause
    if name is None:
        raise Unavailable(f"PostgreSQL at {target.where.postgres} serves no portfolio yet: no service has started")
    return name


def connection_options(settings: KafkaSettings) -> dict[str, object]:
    """aiokafka's names for where the broker is and how to log in."""
    options = make_broker(settings, service="observer")._connection_kwargs
    known = ("bootstrap_servers", "security_protocol", "ssl_context", "sasl_mechanism", "sasl_plain_username")
    return {name: options[name] for name in (*known, "sasl_plain_password") if name in options}
