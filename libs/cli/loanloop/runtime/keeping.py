"""Keeps processes running: a crashed one is started again, ever more slowly while it keeps crashing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from loanloop.runtime.children import Child, SupervisorGone
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.installation import MIRROR, PAGE, Installation
from loanloop.runtime.logs import last_words
from loanloop.runtime.problems import CannotRun
from loanloop.runtime.tasks import together
from loanloop.telling import Tell

SERVICES = ("ingest", "predictor", "evaluator", "trainer")
FIRST_DELAY_S = 1.0
MAX_DELAY_S = 30.0
# Of a service that says what only the operator can do about it (loanloop_common.lifecycle).
OPERATOR_NEEDED = 2
# What ran this long starts afresh at the first delay.
STABLE_AFTER_S = 60.0


async def keep_services_running(installation: Installation, env: Mapping[str, str], tell: Tell) -> None:
    """Starts the four services and restarts what ends, until cancelled; stopping them is the installation's."""

    async def keep(name: str) -> None:
        child = await installation.start_service(name, **env)
        await keep_running(name, child, lambda: installation.start_service(name, **env), tell)

    await together(*(keep(name) for name in SERVICES))


async def keep_page_running(installation: Installation, tell: Tell) -> None:
    """Starts the page and restarts it when it ends, until cancelled."""
    await keep_running(PAGE, await installation.start_page(), installation.start_page, tell)


async def keep_mirror_running(installation: Installation, tell: Tell) -> None:
    """Starts the mirror to MLflow and restarts it when it ends, until cancelled."""
    await keep_running(MIRROR, await installation.start_mirror(), installation.start_mirror, tell)


async def keep_servers_running(infrastructure: EmbeddedInfrastructure, tell: Tell) -> None:
    """Restarts Kafka and PostgreSQL when they end, until cancelled."""
    await together(
        keep_running("Kafka", infrastructure.kafka.running(), infrastructure.start_kafka, tell),
        keep_running("PostgreSQL", infrastructure.postgres.running(), infrastructure.start_postgres, tell),
    )


async def keep_running(name: str, child: Child, start_again: Callable[[], Awaitable[Child]], tell: Tell) -> None:
    """Until cancelled, also while it cannot be started: a full disk may have room again.

    Raises CannotRun where a start would be in vain: only the operator can help, or the supervisor is gone.
    """
    clock = asyncio.get_running_loop().time
    delay_s, started_at = 0.0, clock()
    running: Child | None = child
    while True:
        if running is not None:
            code = await running.wait()
            _raise_if_hopeless(name, running, code)
            ended = f"{name} ended with {code} (log: {running.command.log})"
        delay_s = next_delay(delay_s, ran_for_s=clock() - started_at)
        tell(f"{ended}; starting it again in {delay_s:.0f} s")
        await asyncio.sleep(delay_s)
        started_at = clock()
        try:
            running = await start_again()
        except SupervisorGone:
            raise
        except CannotRun as cannot:
            running, ended = None, str(cannot).removesuffix(".")
        except OSError as error:
            running, ended = None, f"{name} cannot be started: {error}"


def _raise_if_hopeless(name: str, ended: Child, code: int) -> None:
    if ended.is_orphan:
        raise SupervisorGone
    if name in SERVICES and code == OPERATOR_NEEDED:
        raise CannotRun(last_words(ended.command.log, f"loanloop-{name}: ") or f"{name} ended; see {ended.command.log}")


def next_delay(delay_s: float, *, ran_for_s: float) -> float:
    """Twice the last one within bounds; the first one again after a stable run."""
    if ran_for_s >= STABLE_AFTER_S:
        return FIRST_DELAY_S
    return min(max(delay_s * 2, FIRST_DELAY_S), MAX_DELAY_S)
