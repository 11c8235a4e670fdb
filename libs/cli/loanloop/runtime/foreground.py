"""`loanloop up`: everything in the foreground until a signal ends it."""

import asyncio
import contextlib
import signal
import ssl
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Any

import asyncpg
import httpx
from loanloop_common.errors import in_one_line
from loanloop_common.installation import fetch_portfolio_name, fetch_schema_hash
from loanloop_common.kafka import create_topics
from loanloop_common.listening import listening_socket
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import UNREACHABLE, migrate
from loanloop_common.settings import KafkaSettings, ServiceSettings, load_settings
from loanloop_predictor.store.keys_file import load_keys

from loanloop.runtime.begun import OTHERWISE, other_features, refuse_other
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.installation import PAGE, Installation, source_of
from loanloop.runtime.keeping import (
    keep_mirror_running,
    keep_page_running,
    keep_servers_running,
    keep_services_running,
)
from loanloop.runtime.problems import CannotRun
from loanloop.runtime.rest import rest_trust
from loanloop.runtime.settings import RuntimeSettings
from loanloop.runtime.tasks import together
from loanloop.target import kafka_at
from loanloop.telling import Tell

ANSWERS_WITHIN_S = 120
PAGE_ANSWERS_WITHIN_S = 10  # after REST
# The portfolio, and the version that is live.
Ready = Callable[[Portfolio, str | None], None]
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


async def run_installation(installation: Installation, portfolio: str | None, tell: Tell, ready: Ready) -> None:
    """Starts all, calls `ready` when REST answers, and stays. Raises CannotRun."""
    _refuse_early(installation, portfolio)
    async with installation:
        chosen = await prepare(installation, portfolio, tell)
        services = {"LOANLOOP_PORTFOLIO": installation.portfolio}
        tell("starting ingest, predictor, evaluator and trainer")
        keepers = [keep_services_running(installation, services, tell), keep_page_running(installation, tell)]
        if isinstance(installation, EmbeddedInfrastructure):
            keepers.append(keep_servers_running(installation, tell))
        if mirrors_to_mlflow():
            keepers.append(keep_mirror_running(installation, tell))
        await together(*keepers, _announce(installation, chosen, tell, ready))


def mirrors_to_mlflow() -> bool:
    """Raises CannotRun where it was asked for and cannot be done."""
    if RuntimeSettings().mlflow_uri is None:
        return False
    if find_spec("mlflow") is None:
        raise CannotRun(
            "MLFLOW_TRACKING_URI is set, and MLflow's client is not installed: unset it, or install loanloop with its "
            "extra `mlflow`."
        )
    return True


def _refuse_early(installation: Installation, asked: str | None) -> None:
    """Before anything starts: an address or keys that REST could not have, a wrong name or file, and what the folder
    was not begun with, so far as it knows.
    """
    listening_socket(installation.rest_host, 0, setting="LOANLOOP_PREDICTOR__PORT").close()
    if keys := RuntimeSettings().rest_keys:
        load_keys(keys)
    earlier = installation.directory.read_run()
    source = asked or (earlier and earlier.portfolio)
    if not source:
        return
    chosen = load_portfolio(source)
    # With a Kafka of its own, and so a database of its own: a given one need not be that of the earlier run.
    if isinstance(installation, EmbeddedInfrastructure) and earlier and earlier.begun and earlier.kafka_jars:
        refuse_other(earlier.begun, chosen, source_of(source))


async def prepare(installation: Installation, portfolio: str | None, tell: Tell) -> Portfolio:
    """Migrations, topics and the portfolio that this database serves; idempotent. Raises CannotRun."""
    source = source_of(portfolio or installation.portfolio)
    chosen = load_portfolio(source)
    try:
        applied = await migrate(installation.postgres_dsn)
        await _check_portfolio(installation, chosen, source)
    except (*UNREACHABLE, asyncpg.PostgresError) as error:
        raise CannotRun(f"The database cannot be prepared: {in_one_line(error)}") from error
    installation.choose_portfolio(source)
    created = await create_topics(kafka_settings(installation))
    tell(f"{applied} migrations applied, {len(created)} topics created")
    return chosen


def kafka_settings(installation: Installation) -> KafkaSettings:
    return kafka_at(installation.kafka_bootstrap, load_settings(ServiceSettings))


async def _check_portfolio(installation: Installation, chosen: Portfolio, source: str) -> None:
    connection = await asyncpg.connect(installation.postgres_dsn)
    try:
        served, served_hash = await fetch_portfolio_name(connection), await fetch_schema_hash(connection)
    finally:
        await connection.close()
    if served is None or (served, served_hash) == (chosen.name, chosen.schema_hash):
        return
    if installation.begun and installation.begun.portfolio == served:
        refuse_other(installation.begun, chosen, source)
    if served != chosen.name:
        raise CannotRun(
            f"This database serves the portfolio {served}, not {chosen.name}: "
            f"start with --portfolio and the name or the file of {served}, {OTHERWISE}"
        )
    raise other_features(chosen, None, source)


async def _announce(installation: Installation, portfolio: Portfolio, tell: Tell, ready: Ready) -> None:
    trusted = rest_trust()
    health = await _health(installation.rest_url, trusted, within_s=ANSWERS_WITHIN_S)
    if health is None:
        tell(f"REST does not answer at {installation.rest_url} yet; see {installation.log_of('predictor')}")
        return
    if await _health(installation.page_url, within_s=PAGE_ANSWERS_WITHIN_S) is None:
        tell(f"The page does not answer at {installation.page_url} yet; see {installation.log_of(PAGE)}")
    installation.remember(portfolio)
    ready(portfolio, health["version"])


async def _health(url: str, trusted: ssl.SSLContext | bool = True, *, within_s: float) -> dict[str, Any] | None:
    """What is said at /health once all is well; None where it was not in time."""
    async with httpx.AsyncClient(base_url=url, timeout=5, verify=trusted) as client:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if (answer := await client.get("/health")).is_success:
                            said: dict[str, Any] = answer.json()
                            return said
                    await asyncio.sleep(0.2)
    return None
