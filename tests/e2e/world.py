"""The whole system as its users meet it: four processes on Kafka and PostgreSQL, loans in, decisions out."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid5

import httpx
from loanloop_common.events import LoanScored, Topic
from loanloop_common.kafka import Broker, publish_batch
from loanloop_common.postgres import Pool

from tests.support.eventually import eventually
from tests.support.infrastructure import Backend
from tests.support.loans import NAMESPACE
from tests.support.tiny_portfolio import make_loans
from tests.support.topics import read_all

SERVICES = ("ingest", "predictor", "evaluator", "trainer")
QUICK = {
    "LOANLOOP_TRAINER__POLL_S": "0.5",
    "LOANLOOP_TRAINER__THREADS": "1",
    "LOANLOOP_EVALUATOR__POLL_S": "0.5",
    "LOANLOOP_EVALUATOR__FACTS_EVERY_S": "1",
    "LOANLOOP_LOG_LEVEL": "INFO",
}


@dataclass(frozen=True, kw_only=True)
class Loan:
    """A made-up loan with its end, as it is sent in up to two events."""

    loan_id: str
    event_id: str
    occurred_at: datetime
    features: dict[str, Any]
    defaulted: bool
    known_at: datetime

    @property
    def received(self) -> dict[str, Any]:
        return {
            "event_id": self.event_id,
            "occurred_at": self.occurred_at.isoformat(),
            "schema_version": 1,
            "loan_id": self.loan_id,
            "features": self.features,
        }

    @property
    def history(self) -> dict[str, Any]:
        outcome = {"defaulted": self.defaulted, "known_at": self.known_at.isoformat()}
        return self.received | {"outcome": outcome}

    @property
    def outcome(self) -> dict[str, Any]:
        return {
            "event_id": str(uuid5(NAMESPACE, f"outcome of {self.loan_id}")),
            "occurred_at": self.known_at.isoformat(),
            "schema_version": 1,
            "loan_id": self.loan_id,
            "defaulted": self.defaulted,
            "known_at": self.known_at.isoformat(),
        }


def loans(n: int, *, first: int = 0, later: timedelta = timedelta(0), reversed_world: bool = False) -> list[Loan]:
    """Loans number `first` and on; in a reversed world those default that would have been repaid."""
    return [
        Loan(
            loan_id=row[0],
            event_id=str(row[1]),
            occurred_at=row[2] + later,
            features=row[3],
            defaulted=row[7] != reversed_world,
            known_at=row[8] + later,
        )
        for row in make_loans(n, first=first)
    ]


@dataclass
class World:
    infrastructure: Backend
    dsn: str
    pool: Pool
    broker: Broker
    portfolio: Path

    @property
    def settings(self) -> dict[str, str]:
        return {"LOANLOOP_POSTGRES__DSN": self.dsn, "LOANLOOP_PORTFOLIO": str(self.portfolio)}

    async def start(self, *services: str) -> None:
        for service in services or SERVICES:
            await self.infrastructure.start_service(service, **self.settings, **QUICK)

    async def restart(self, service: str) -> None:
        """kill -9, and again."""
        await self.infrastructure.kill_service(service)
        await self.start(service)

    async def send(self, topic: Topic, events: Iterable[dict[str, Any]]) -> None:
        await publish_batch(
            self.broker, topic, [(event["loan_id"].encode(), json.dumps(event).encode()) for event in events]
        )

    async def first_model(self, n_loans: int = 1700) -> list[Loan]:
        """Backfills loans until the first version is served; returns them."""
        history = loans(n_loans)
        await self.send(Topic.LOAN_RECEIVED, [loan.history for loan in history])
        await self.served("v1")
        return history

    async def decide(self, new: Sequence[Loan]) -> None:
        """Streams the loans, and their outcomes once they are decided."""
        await self.send(Topic.LOAN_RECEIVED, [loan.received for loan in new])
        await self.decided([loan.event_id for loan in new])
        await self.send(Topic.LOAN_OUTCOME, [loan.outcome for loan in new])

    async def decided(self, event_ids: Sequence[str], *, within_s: float = 60) -> None:
        async def all_are() -> bool:
            n: int = await self.pool.fetchval(
                "SELECT count(*) FROM loan_data.decision_keys WHERE event_id = ANY($1::uuid[])", event_ids
            )
            return n == len(event_ids)

        await eventually(all_are, within_s=within_s, what=f"the decision of {len(event_ids)} loans")

    async def served(self, version: str, *, within_s: float = 120) -> None:
        """Until REST answers with the version; a version that did not pass ends the wait."""

        async def is_served() -> bool:
            assert not await self.rejected(version), f"{version} did not pass: {await self.rejected(version)}"
            return await self.live_at_rest() == version

        await eventually(is_served, within_s=within_s, every_s=0.25, what=f"{version} at REST")

    async def live_at_rest(self) -> str | None:
        try:
            async with httpx.AsyncClient(base_url=self.infrastructure.rest_url, timeout=5) as client:
                health = await client.get("/health")
        except httpx.TransportError:
            return None
        version: str | None = health.json()["version"]
        return version

    async def predict(self, loan: Loan) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.infrastructure.rest_url, timeout=10) as client:
            return await client.post("/predict", json=loan.received)

    async def rejected(self, version: str) -> str | None:
        reason: str | None = await self.pool.fetchval(
            "SELECT reason FROM loan_data.model_performance "
            "WHERE kind = 'gate' AND role = 'challenger' AND version = $1 AND NOT passed",
            version,
        )
        return reason

    async def trigger_of(self, version: str) -> str:
        trigger: str = await self.pool.fetchval(
            "SELECT trigger FROM loan_data.training_runs WHERE version = $1", version
        )
        return trigger

    async def scored(self) -> list[LoanScored]:
        records = await read_all(self.infrastructure.kafka_bootstrap, Topic.LOAN_SCORED)
        return [LoanScored.model_validate_json(record.value) for record in records]
