"""A loanloop that runs for tests: Kafka, PostgreSQL, the four services and a first model."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
from loanloop_common.events import LoanScored, Topic
from loanloop_common.kafka import Broker, make_broker, publish_batch, stop_broker
from loanloop_common.portfolio import Portfolio

from loanloop.runtime.foreground import kafka_settings, prepare
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.installation import Installation
from loanloop.runtime.keeping import keep_services_running
from loanloop.runtime.ports import ANY_FREE
from loanloop.runtime.rest import rest_trust
from loanloop.testing.answers import Answers, Refusal
from loanloop.testing.infrastructure import ContainerInfrastructure
from loanloop.testing.queries import fetch_is_stored
from loanloop.testing.throwaway_model import made_up_history, write_easy_portfolio

BACKENDS: dict[str, type[EmbeddedInfrastructure | ContainerInfrastructure]] = {
    "containers": ContainerInfrastructure,
    "embedded": EmbeddedInfrastructure,
}
MODEL_WITHIN_S = 300
_LOOK_EVERY_S = 0.05
_QUICK = {"LOANLOOP_TRAINER__POLL_S": "0.5", "LOANLOOP_TRAINER__THREADS": "1", "LOANLOOP_EVALUATOR__POLL_S": "0.5"}

Event = Mapping[str, Any]
T = TypeVar("T")


@dataclass
class Running:
    """What runs, and what it has answered; in the event loop that it was started in."""

    installation: Installation
    portfolio: Portfolio
    broker: Broker
    answers: Answers
    tasks: tuple[asyncio.Task[None], ...]

    async def produce(self, topic: str, events: Iterable[Event]) -> None:
        """Returns when Kafka has acknowledged all of them."""
        messages = [(str(event.get("loan_id", "")).encode() or None, json.dumps(event).encode()) for event in events]
        await publish_batch(self.broker, topic, messages)

    async def decision(self, event_id: UUID, within_s: float) -> LoanScored:
        async def decided() -> LoanScored | None:
            return self._unless_refused(event_id, self.answers.decisions.get(event_id))

        return await self._until(decided, within_s, f"{event_id} was not decided")

    async def stored(self, event_id: UUID, within_s: float) -> None:
        async def is_stored() -> bool | None:
            return self._unless_refused(event_id, await fetch_is_stored(self.installation.postgres_dsn, event_id))

        await self._until(is_stored, within_s, f"{event_id} was not stored")

    async def refusal(self, event_id: UUID, within_s: float) -> Refusal:
        async def refused() -> Refusal | None:
            return self.answers.refusal_of(event_id)

        return await self._until(refused, within_s, f"{event_id} was not refused")

    async def model_is_live(self) -> None:
        trusted = rest_trust()
        async with httpx.AsyncClient(base_url=self.installation.rest_url, timeout=5, verify=trusted) as client:

            async def is_live() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    health = await client.get("/health")
                    return health.is_success and health.json()["version"] is not None
                return False

            await self._until(is_live, MODEL_WITHIN_S, "the first model was not live")

    def _unless_refused(self, event_id: UUID, answer: T | None) -> T | None:
        """An answer that is there holds, also where the event came again and was refused then."""
        if not answer and (refusal := self.answers.refusal_of(event_id)):
            raise AssertionError(f"loanloop refused {event_id} on {refusal.topic}: {refusal.message}")
        return answer

    async def _until(self, ask: Callable[[], Awaitable[T | None]], within_s: float, late: str) -> T:
        clock = asyncio.get_running_loop().time
        deadline = clock() + within_s
        while not (answer := await ask()):
            for task in self.tasks:
                if task.done():
                    await task
            if clock() > deadline:
                logs = self.installation.directory.logs
                raise AssertionError(f"{late} within {within_s:g} s{self._unnamed_refusals()}; the logs are in {logs}")
            await asyncio.sleep(_LOOK_EVERY_S)
        return answer

    def _unnamed_refusals(self) -> str:
        """Perhaps it was refused before its event_id could be read."""
        unnamed = [refusal.message for refusal in self.answers.refusals if refusal.event_id is None]
        return f", and a message without a readable event_id was refused: {unnamed[-1]}" if unnamed else ""


@contextlib.asynccontextmanager
async def running(backend: str, portfolio: str, folder: Path) -> AsyncIterator[Running]:
    """On free ports, its data in the folder. Raises a LoanloopError that says why it can't run."""
    easy = write_easy_portfolio(portfolio, folder)
    async with BACKENDS[backend](folder / "loanloop", ports=ANY_FREE, progress=print) as installation:
        chosen = await prepare(installation, str(easy), print)
        broker = make_broker(kafka_settings(installation), service="test")
        await broker.connect()
        answers = Answers()
        services = {"LOANLOOP_PORTFOLIO": str(easy)} | _QUICK
        tasks = (
            asyncio.create_task(keep_services_running(installation, services, print)),
            asyncio.create_task(answers.follow(installation.kafka_bootstrap)),
        )
        try:
            started = Running(installation, chosen, broker, answers, tasks)
            await started.produce(Topic.LOAN_RECEIVED, made_up_history(chosen))
            await started.model_is_live()
            yield started
        finally:
            await _ended(tasks)
            await stop_broker(broker)


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """What they failed of is told where somebody waits for an answer."""
    for task in tasks:
        task.cancel()
        await asyncio.wait([task])
