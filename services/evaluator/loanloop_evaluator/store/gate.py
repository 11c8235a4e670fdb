"""What the gate needs of the database, each a unit of work: candidates, the frozen window, verdict and deployment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from loanloop_common.event_time import fetch_as_of
from loanloop_common.events import ModelDeployed
from loanloop_common.postgres import Pool

from loanloop_evaluator.domain.deployment import Candidate, Live, automatic, seq_of
from loanloop_evaluator.domain.gate import GateRule
from loanloop_evaluator.store.candidates import fetch_candidates
from loanloop_evaluator.store.deployments import (
    SERVICE,
    StoredBundle,
    fetch_bundle,
    fetch_live,
    lock_slot,
    record_deployment,
)
from loanloop_evaluator.store.gate_window import GateWindow, count_loans
from loanloop_evaluator.store.verdicts import Judgement, alert_of_unreadable_champion, is_recorded, record_verdict


@dataclass(frozen=True, slots=True)
class Recorded:
    """`outdated`: another version went live meanwhile, nothing was written, judge again. `known`: already recorded."""

    outcome: Literal["written", "outdated", "known"]
    deployed: ModelDeployed | None = None


class GateStore:
    def __init__(self, pool: Pool, *, slot: str, rule: GateRule, min_outcomes: int) -> None:
        self._pool = pool
        self._slot = slot
        self._rule = rule
        self._min_outcomes = min_outcomes

    async def fetch_candidates(self) -> tuple[list[Candidate], Live | None]:
        """And what is live, at the same moment."""
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            live = await fetch_live(connection, self._slot)
            return await fetch_candidates(connection, self._slot), live

    async def fetch_as_of(self) -> datetime | None:
        async with self._pool.acquire() as connection:
            return await fetch_as_of(connection, self._min_outcomes)

    async def fetch_bundle(self, version: str) -> StoredBundle:
        async with self._pool.acquire() as connection:
            return await fetch_bundle(connection, version)

    async def count_loans(self, as_of: datetime, after: datetime) -> int:
        """How many loans the window has, counted no further than the gate needs."""
        async with self._pool.acquire() as connection:
            return await count_loans(connection, as_of, after, up_to=self._rule.min_loans)

    @asynccontextmanager
    async def frozen_window(self, as_of: datetime, after: datetime) -> AsyncIterator[GateWindow]:
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield GateWindow(connection, as_of, after)

    async def alert_of_unreadable_champion(self, live: Live, challenger: str, reason: str) -> bool:
        """Once for a deployment; False where it has been said."""
        async with self._pool.acquire() as connection, connection.transaction():
            return await alert_of_unreadable_champion(connection, live, challenger, reason)

    async def record(self, judgement: Judgement) -> Recorded:
        """The verdict, its event and, if it passed and no pin holds, the deployment: all or nothing."""
        async with self._pool.acquire() as connection, connection.transaction():
            await lock_slot(connection, self._slot)
            live = await fetch_live(connection, self._slot)
            if seq_of(live) != judgement.judged_seq:
                return Recorded("outdated")
            if await is_recorded(connection, judgement):
                return Recorded("known")
            await record_verdict(connection, judgement, self._rule)
            deployment = automatic(judgement.challenger.version, live) if judgement.verdict.passed else None
            if deployment is None:
                return Recorded("written")
            deployed = await record_deployment(
                connection, self._slot, deployment,
                actor=SERVICE, reason=judgement.verdict.reason, as_of=judgement.as_of,
            )  # fmt: skip
            return Recorded("written", deployed)
