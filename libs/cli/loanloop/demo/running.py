"""Puts the demo's installation up afresh, plays the story on it, adds up, and takes everything down again.

Or plays it on an installation that runs elsewhere, in containers.
"""

import asyncio
import contextlib
import shutil
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from loanloop_common.kafka import make_broker, stop_broker
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import create_pool
from loanloop_common.settings import KafkaSettings

from loanloop.demo import queries
from loanloop.demo.director import Director
from loanloop.demo.plan import DemoImpossible, Plan
from loanloop.demo.rest import RestClient
from loanloop.demo.result import Result, Story, result_of
from loanloop.demo.stage import Scene, Stage
from loanloop.observe.observing import observing
from loanloop.runtime.data_directory import running_state
from loanloop.runtime.first_steps import FirstSteps, first_steps
from loanloop.runtime.foreground import kafka_settings, prepare
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.keeping import SERVICES, keep_running, keep_servers_running
from loanloop.runtime.postgres_account import postgres_home, server_account
from loanloop.runtime.rest import rest_trust
from loanloop.runtime.tools import write_tools
from loanloop.target import find_target

# A second is a month of the replay.
QUICK = {"LOANLOOP_EVALUATOR__POLL_S": "0.5", "LOANLOOP_TRAINER__POLL_S": "0.5"}
BEFORE_THE_TRAINER = tuple(name for name in SERVICES if name != "trainer")


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The running installation that the story is played on."""

    data_dir: Path
    portfolio: Portfolio
    kafka: KafkaSettings
    dsn: str
    rest_url: str
    api_key: str | None = None
    rest_trusted: ssl.SSLContext | bool = True
    start_trainer: Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """`stored`: a file that is made when the history is stored, for whoever starts the trainer then."""

    data_dir: Path
    rest_url: str
    api_key: str | None
    stored: Path | None

    async def say_stored(self) -> None:
        if self.stored:
            self.stored.touch()


@dataclass(frozen=True, kw_only=True)
class Played:
    result: Result
    next_steps: FirstSteps


async def run_demo(plan: Plan, file: Path, data_dir: Path, stage: Stage) -> Played:
    """Raises DemoImpossible, CannotRun or Unavailable; whatever happens, nothing is left running."""
    started = time.monotonic()
    await asyncio.to_thread(_start_afresh, data_dir)
    with stage:
        stage.show(Scene(doing="getting ready"))
        async with EmbeddedInfrastructure(data_dir, progress=stage.tell) as infrastructure:
            portfolio = await prepare(infrastructure, plan.portfolio, stage.tell)
            tools = write_tools(infrastructure)
            async with _kept_running(infrastructure, stage) as keepers:
                ground = Ground(
                    data_dir=data_dir,
                    portfolio=portfolio,
                    kafka=kafka_settings(infrastructure),
                    dsn=infrastructure.postgres_dsn,
                    rest_url=infrastructure.rest_url,
                    rest_trusted=rest_trust(),
                    start_trainer=partial(_start_trainer, keepers, stage),
                )
                result = await _play(plan, file, ground, stage, started)
            steps = first_steps(portfolio, tools=tools, rest_url=infrastructure.rest_url)
    return Played(result=result, next_steps=steps)


def _start_afresh(data_dir: Path) -> None:
    if running_state(data_dir) is not None:
        raise DemoImpossible(f"something runs on {data_dir}: stop it first, for the demo starts afresh each time")
    if not data_dir.exists():
        return
    if not (data_dir / "loanloop.json").exists():
        raise DemoImpossible(f"{data_dir} is not loanloop's: the demo would delete it; name another with --data-dir")
    # Where PostgreSQL runs as another user its data lie outside of the folder.
    shutil.rmtree(postgres_home(server_account(), (data_dir / "postgres").absolute()).data, ignore_errors=True)
    shutil.rmtree(data_dir)


class Keepers:
    """Services that are restarted when they end; an error in one of them ends the demo."""

    def __init__(self, infrastructure: EmbeddedInfrastructure, stage: Stage) -> None:
        self._infrastructure = infrastructure
        self._stage = stage
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def start(self, *names: str) -> None:
        for name in names:
            child = await self._start(name)
            self.add(keep_running(name, child, partial(self._start, name), self._stage.tell))

    async def _start(self, name: str) -> Any:
        return await self._infrastructure.start_service(
            name, LOANLOOP_PORTFOLIO=self._infrastructure.portfolio, **QUICK
        )

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _kept_running(infrastructure: EmbeddedInfrastructure, stage: Stage) -> AsyncIterator[Keepers]:
    keepers = Keepers(infrastructure, stage)
    try:
        stage.tell("starting ingest, predictor and evaluator")
        keepers.add(keep_servers_running(infrastructure, stage.tell))
        await keepers.start(*BEFORE_THE_TRAINER)
        yield keepers
    finally:
        await keepers.stop()


async def _start_trainer(keepers: Keepers, stage: Stage) -> None:
    stage.tell("trainer: starts now that the history is stored")
    await keepers.start("trainer")


async def run_demo_elsewhere(plan: Plan, file: Path, where: Elsewhere, stage: Stage) -> Result:
    """On the installation that the settings name, whose services run. Raises DemoImpossible or Unavailable."""
    with stage:
        return await _play(plan, file, await _ground_elsewhere(plan, where), stage, time.monotonic())


async def _ground_elsewhere(plan: Plan, where: Elsewhere) -> Ground:
    target = find_target(where.data_dir)
    pool = await create_pool(target.dsn(), application_name="demo", max_size=1)
    try:
        portfolio = await target.served_portfolio(pool)
        if portfolio.name != plan.portfolio:
            raise DemoImpossible(f"the services have the portfolio {portfolio.name}, not {plan.portfolio}")
        async with pool.acquire() as connection:
            if await queries.holds_loans(connection):
                raise DemoImpossible("there are loans already: the story needs an installation without any")
    finally:
        await pool.close()
    return Ground(
        data_dir=where.data_dir,
        portfolio=portfolio,
        kafka=target.kafka(),
        dsn=target.dsn(),
        rest_url=where.rest_url,
        api_key=where.api_key,
        start_trainer=where.say_stored,
    )


@contextlib.asynccontextmanager
async def _directing(plan: Plan, file: Path, ground: Ground, stage: Stage) -> AsyncIterator[Director]:
    broker = make_broker(ground.kafka, service="demo")
    rest = RestClient(ground.rest_url, ground.api_key, ground.rest_trusted)
    await broker.connect()
    asking = asyncio.create_task(rest.run())
    try:
        async with observing(ground.data_dir, ground.portfolio) as observer:
            yield Director(plan, ground.portfolio, file, stage, observer, broker, rest, ground.start_trainer)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await stop_broker(broker)


async def _play(plan: Plan, file: Path, ground: Ground, stage: Stage, started: float) -> Result:
    async with _directing(plan, file, ground, stage) as director:
        sent = await director.play()
        story = Story(
            snapshot=await director.observer.snapshot(),
            sent=sent,
            own=director.loan_ids,
            rest=director.rest.figures,
            started=started,
        )
        return await result_of(plan, ground.portfolio, ground.dsn, story)
