"""`loanloop up`: everything in the foreground until a signal ends it."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import httpx
from loanloop_common.errors import in_one_line
from loanloop_common.installation import fetch_portfolio_name
from loanloop_common.kafka import create_topics
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import UNREACHABLE, migrate
from loanloop_common.settings import KafkaSettings, ServiceSettings, load_settings

from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.installation import Installation, Progress
from loanloop.runtime.keeping import keep_servers_running, keep_services_running
from loanloop.runtime.problems import CannotRun
from loanloop.runtime.tasks import together
from loanloop.target import kafka_at

ANSWERS_WITHIN_S = 120
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def until_signalled(work: Coroutine[Any, Any, None]) -> bool:
    """Runs `work`; Ctrl-C, SIGTERM and a closed terminal cancel it. True if one of them did."""
    task = asyncio.ensure_future(work)
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


async def run_installation(
    installation: Installation, portfolio: str | None, tell: Progress, ready: Callable[[Portfolio], None]
) -> None:
    """Starts all, calls `ready` when REST answers, and stays. Raises CannotRun."""
    if portfolio:
        load_portfolio(portfolio)  # a wrong name is said before anything starts
    async with installation:
        chosen = await prepare(installation, portfolio, tell)
        services = {"LOANLOOP_PORTFOLIO": installation.portfolio}
        tell("starting ingest, predictor, evaluator and trainer")
        keepers = [keep_services_running(installation, services, tell)]
        if isinstance(installation, EmbeddedInfrastructure):
            keepers.append(keep_servers_running(installation, tell))
        await together(*keepers, _announce(installation, chosen, tell, ready))


async def prepare(installation: Installation, portfolio: str | None, tell: Progress) -> Portfolio:
    """Migrations, topics and the portfolio that this database serves; idempotent. Raises CannotRun."""
    chosen = load_portfolio(installation.choose_portfolio(portfolio))
    try:
        applied = await migrate(installation.postgres_dsn)
        await _check_portfolio(installation.postgres_dsn, chosen)
    except (*UNREACHABLE, asyncpg.PostgresError) as error:
        raise CannotRun(f"The database cannot be prepared: {in_one_line(error)}") from error
    created = await create_topics(kafka_settings(installation))
    tell(f"{applied} migrations applied, {len(created)} topics created")
    return chosen


def kafka_settings(installation: Installation) -> KafkaSettings:
    return kafka_at(installation.kafka_bootstrap, load_settings(ServiceSettings))


async def _check_portfolio(dsn: str, chosen: Portfolio) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        served = await fetch_portfolio_name(connection)
    finally:
        await connection.close()
    if served not in (None, chosen.name):
        raise CannotRun(
            f"This data folder serves the portfolio {served}, not {chosen.name}: "
            f"start with --portfolio {served}, or name another folder with --data-dir."
        )


async def _announce(
    installation: Installation, portfolio: Portfolio, tell: Progress, ready: Callable[[Portfolio], None]
) -> None:
    async with httpx.AsyncClient(base_url=installation.rest_url, timeout=5) as client:
        for _ in range(ANSWERS_WITHIN_S * 5):
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/health")).is_success:
                    ready(portfolio)
                    return
            await asyncio.sleep(0.2)
    tell(f"REST does not answer at {installation.rest_url} yet; see {installation.log_of('predictor')}")
