"""How every service starts, runs and ends: settings, waiting for its infrastructure, signals, draining, exit codes.

Exit codes: 0 after a signal, 1 after a crash of a part or where something is away, 2 where only the operator can help
(settings, portfolio).
"""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import structlog
from setproctitle import setproctitle

from loanloop_common.background import FATAL
from loanloop_common.errors import LoanloopError, Unavailable, in_one_line
from loanloop_common.garbage_collection import spare_collector
from loanloop_common.installation import check_installation
from loanloop_common.instances import Heartbeat
from loanloop_common.kafka import Broker, create_topics, make_broker, stop_broker
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import AWAY, Pool, create_pool
from loanloop_common.settings import ServiceSettings, load_settings
from loanloop_common.telemetry import begin_metrics, set_up_logging
from loanloop_common.telemetry_server import TelemetryServer
from loanloop_common.tracing import begin_tracing, end_tracing
from loanloop_common.vitals import LoopDelay, watch_build, watch_disk, watch_parts, watch_pool

log = structlog.get_logger()

Settings = TypeVar("Settings", bound=ServiceSettings)
T = TypeVar("T")

# A batch is decoded in a thread. Python's own 5 ms is what the event loop waits for it each time an answer has come: of
# Kafka, PostgreSQL or a client.
_SWITCH_INTERVAL_S = 0.0005
_SAY_AGAIN_S = 30.0
_LONGEST_PAUSE_S = 5.0

# Once the parts have stopped, within `stop_within_s`: the connections to Kafka, then those to PostgreSQL.
_BROKER_WITHIN_S = 5.0
_POOL_WITHIN_S = 3.0
AFTER_PARTS_S = _BROKER_WITHIN_S + _POOL_WITHIN_S


class Part(Protocol):
    """Something of a service that runs: a consumer, a relay, a poller, a web server.

    The heartbeat reports each `state`; one of `instances.AT_WORK` where nothing is wrong.
    """

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


@dataclass(frozen=True)
class Foundation(Generic[Settings]):
    """What each service stands on when its own parts are built."""

    service: str
    settings: Settings
    portfolio: Portfolio
    pool: Pool
    broker: Broker
    heartbeat: Heartbeat


Build = Callable[[Foundation[Settings]], Awaitable[Sequence[Part]]]


class StopAsked(Exception):
    """A signal came while the service was still waiting for its infrastructure."""


def run_service(service: str, kind: type[Settings], build: Build[Settings], *, has_rest: bool = False) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code. `build` gives the parts in the order they start in.

    One that has a REST server serves its metrics there, any other gets a server for them.
    """
    setproctitle(f"loanloop-{service}")
    try:
        settings = load_settings(kind)
        portfolio = load_portfolio(settings.portfolio)
        set_up_logging(service, log_format=settings.log_format, level=settings.log_level)
        begin_tracing(service, instance_id=settings.instance_id)
        return asyncio.run(_serve(service, settings, portfolio, build, has_rest=has_rest))
    except LoanloopError as error:
        sys.stderr.write(f"loanloop-{service}: {error}\n")
        return 1 if isinstance(error, Unavailable) else 2
    finally:
        end_tracing()


async def _serve(
    service: str, settings: Settings, portfolio: Portfolio, build: Build[Settings], *, has_rest: bool
) -> int:
    stop = _Stop()
    stop.listen()
    async with AsyncExitStack() as stack:
        try:
            foundation = await _founded(service, settings, portfolio, stack, stop)
            own = await waited_for("the database", lambda: build(foundation), stop.asked)
        except StopAsked:
            return 0
        telemetry = [] if has_rest else [_telemetry_of(foundation, own)]
        parts: list[Part] = [foundation.heartbeat, LoopDelay(), *telemetry, *own]
        foundation.heartbeat.report = lambda: {"parts": states_of(own)}
        watch_parts([foundation.heartbeat, *own])
        spare_collector()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        started: list[Part] = []
        try:
            for part in parts:
                started.append(part)
                await part.start()
            log.info("service_started", portfolio=portfolio.name, instance=settings.instance_id)
            await stop.asked.wait()
        finally:
            await drain(started, within_s=settings.stop_within_s)
        log.info("service_stopped", reason=stop.reason)
        return stop.exit_code


def states_of(parts: Sequence[Part]) -> dict[str, str]:
    return {part.name: part.state for part in parts}


def _telemetry_of(foundation: Foundation[Settings], own: Sequence[Part]) -> TelemetryServer:
    where = foundation.settings.telemetry
    server = TelemetryServer(lambda: states_of(own), host=where.host, port=where.port)
    foundation.heartbeat.update(url=server.url)
    return server


class _Stop:
    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.exit_code = 0
        self.reason = ""

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        loop.set_exception_handler(self._on_error)

    def _signalled(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            # Ctrl-C reaches a child from the terminal and from its parent; draining is bounded anyway.
            return
        self.reason = number.name
        self.asked.set()

    def _on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if FATAL not in context:
            loop.default_exception_handler(context)
            return
        self.exit_code, self.reason = 1, f"{context[FATAL]} crashed"
        self.asked.set()


async def _founded(
    service: str, settings: Settings, portfolio: Portfolio, stack: AsyncExitStack, stop: _Stop
) -> Foundation[Settings]:
    pool = await waited_for("PostgreSQL", lambda: _connected_pool(service, settings), stop.asked)
    stack.push_async_callback(_close_pool, pool)
    await waited_for("the database's schema", lambda: check_installation(pool, portfolio), stop.asked)
    broker = await waited_for("Kafka", lambda: _connected_broker(service, settings), stop.asked)
    stack.push_async_callback(stop_broker, broker, within_s=_BROKER_WITHIN_S)
    heartbeat = Heartbeat(pool, service=service, instance_id=settings.instance_id)
    begin_metrics(service)
    watch_build(portfolio.name)
    watch_pool(pool)
    if settings.telemetry.data_folder:
        watch_disk(settings.telemetry.data_folder)
    return Foundation(service, settings, portfolio, pool, broker, heartbeat)


async def waited_for(what: str, attempt: Callable[[], Awaitable[T]], stop: asyncio.Event) -> T:
    """The attempt's result, tried with backoff while what it needs is away. Raises StopAsked when `stop` is set."""
    pause_s, said_at = 0.2, -_SAY_AGAIN_S
    while not stop.is_set():
        try:
            return await attempt()
        except (Unavailable, *AWAY) as error:  # not UNREACHABLE: a port that is taken will not get better
            if time.monotonic() - said_at >= _SAY_AGAIN_S:
                said_at = time.monotonic()
                log.warning("waiting", what=what, error=in_one_line(error))
        try:
            await asyncio.wait_for(stop.wait(), timeout=pause_s)
        except TimeoutError:
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
    raise StopAsked


async def _connected_pool(service: str, settings: ServiceSettings) -> Pool:
    return await create_pool(settings.postgres.dsn, application_name=service, max_size=settings.postgres.pool_size)


async def _connected_broker(service: str, settings: ServiceSettings) -> Broker:
    await create_topics(settings.kafka)
    broker = make_broker(settings.kafka, service=service)
    await broker.connect()
    return broker


async def drain(parts: Sequence[Part], *, within_s: float) -> None:
    """Stop the parts, the last started first, all together in no more than `within_s`."""
    deadline = time.monotonic() + within_s
    for part in reversed(parts):
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.1)):
                await part.stop()
        except TimeoutError:
            log.warning("part_not_stopped_in_time", part=part.name)
        except Exception as error:  # the other parts still have to stop
            log.warning("part_not_stopped_cleanly", part=part.name, error=repr(error), exc_info=error)


async def _close_pool(pool: Pool) -> None:
    try:
        await asyncio.wait_for(pool.close(), timeout=_POOL_WITHIN_S)
    except TimeoutError:
        pool.terminate()
