"""Loans, labels, decisions and models, written as the other services write them, and models that score by rote.

A model's file is JSON that names the feature holding its score; any other content is a corrupt bundle.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
from loanloop_common.errors import BundleCorrupt
from loanloop_common.events import EVENT_OF_TOPIC, Event, Topic
from loanloop_common.postgres import Pool
from loanloop_evaluator.domain.breach import BreachRule
from loanloop_evaluator.domain.gate import GateRule
from loanloop_evaluator.domain.ports import LoanScorer
from loanloop_evaluator.domain.rolling import RollingRule
from loanloop_evaluator.handlers.judging import Judge
from loanloop_evaluator.handlers.operator import Operator
from loanloop_evaluator.handlers.rolling import RollingEvaluation
from loanloop_evaluator.store.deployments import StoredBundle
from loanloop_evaluator.store.gate import GateStore
from loanloop_evaluator.store.rolling import RollingStore
from numpy.typing import NDArray

from tests.integration.evaluator.ingested import IngestedLoans

SLOT = "sba"
MIN_OUTCOMES = 5
EPOCH = datetime(2005, 1, 1, tzinfo=UTC)


def day(n: int) -> datetime:
    return EPOCH + timedelta(days=n)


class RoteScorer:
    def __init__(self, stored: StoredBundle) -> None:
        try:
            content = json.loads(stored.data)
        except ValueError as broken:
            raise BundleCorrupt(stored.version, "is cut short or no bundle") from broken
        self._feature: str = content["feature"]
        self.threshold: float = content["threshold"]

    def probabilities(self, features: Sequence[str]) -> NDArray[np.float64]:
        return np.array([json.loads(text)[self._feature] for text in features])

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Loan:
    """`scores` by feature name; decided by whichever version is asked."""

    loan_id: str
    occurred_at: datetime
    defaulted: bool
    scores: dict[str, float]


def loans_of_day(n: int, *, right: int, wrong: int, defaulted: int = 0) -> list[Loan]:
    """Of a day: `right` defaults that `score` sees and `wrong` ones that it misses; `defaulted` more right ones."""
    made = [(True, 0.9)] * (right + defaulted) + [(True, 0.1)] * wrong
    return [Loan(uuid4().hex, day(n), label, {"score": score}) for label, score in made]


class HeldScorer(RoteScorer):
    """Says when its scoring has begun, and goes on when it may."""

    def __init__(self, stored: StoredBundle, began: threading.Event, may_go_on: threading.Event) -> None:
        super().__init__(stored)
        self._began = began
        self._may_go_on = may_go_on

    def probabilities(self, features: Sequence[str]) -> NDArray[np.float64]:
        self._began.set()
        assert self._may_go_on.wait(30)
        return super().probabilities(features)


class World:
    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._ingested = IngestedLoans(pool)

    def judge(
        self, *, min_loans: int = 20, metric: str = "f1", at_least: float = 0.8,
        load: Callable[[StoredBundle], LoanScorer] = RoteScorer,
    ) -> Judge:  # fmt: skip
        rule = GateRule(metric, at_least, min_loans, 0.9)
        return Judge(GateStore(self.pool, slot=SLOT, rule=rule, min_outcomes=MIN_OUTCOMES), rule, load)

    def operator(self) -> Operator:
        return Operator(self.pool, slot=SLOT, min_outcomes=MIN_OUTCOMES, load=RoteScorer, actor="tester")

    def rolling(self, *, metric: str = "f1", min_outcomes: int = MIN_OUTCOMES) -> RollingEvaluation:
        store = RollingStore(self.pool, slot=SLOT, min_outcomes=MIN_OUTCOMES)
        return RollingEvaluation(store, SLOT, RollingRule(metric, 7, min_outcomes, 0.9), BreachRule(0.8, 3))

    async def add_model(
        self, number: int, *, train_to: datetime, feature: str = "score", data: bytes | None = None
    ) -> str:
        version = f"v{number}"
        content = data if data is not None else json.dumps({"feature": feature, "threshold": 0.5}).encode()
        async with self.pool.acquire() as connection, connection.transaction():
            run_id = await connection.fetchval(
                """
                INSERT INTO loan_data.training_runs (trigger, portfolio, state, seed)
                VALUES ('labels', $1, 'succeeded', 1) RETURNING run_id
                """,
                SLOT,
            )
            await connection.execute(
                """
                INSERT INTO loan_data.model_metadata
                    (version, number, run_id, portfolio, schema_hash, train_from, train_to, n_rows,
                     hyperparameters, metrics, manifest, bundle, bundle_sha256)
                VALUES ($1, $2, $3, $4, 'hash', $5, $6, 100, '{}', '{}',
                        jsonb_build_object('version', $1::text), $7, $8)
                """,
                version, number, run_id, SLOT, train_to - timedelta(days=365), train_to,
                content, hashlib.sha256(content).digest(),
            )  # fmt: skip
        return version

    async def receive(self, loans: Sequence[Loan], *, is_history: bool = False) -> None:
        await self._ingested.receive(
            ((loan.loan_id, loan.occurred_at, loan.scores) for loan in loans), is_history=is_history
        )

    async def decide(self, loans: Sequence[Loan], version: str, *, feature: str = "score") -> None:
        await self.pool.executemany(
            """
            INSERT INTO loan_data.predictions
                (decision_id, event_id, loan_id, occurred_at, features, probability, threshold, decision, version,
                 deployment_seq, engine, latency_ms, channel, decided_at)
            VALUES (gen_random_uuid(), gen_random_uuid(), $1, $2, '{}', $3, 0.5, $4, $5, 1, 'test', 1, 'stream',
                    clock_timestamp())
            """,
            [
                (loan.loan_id, loan.occurred_at, p, "decline" if p >= 0.5 else "approve", version)
                for loan in loans
                for p in [loan.scores[feature]]
            ],
        )

    async def label(
        self, loans: Sequence[Loan], *, known_at: datetime | None = None, defaulted: bool | None = None
    ) -> None:
        """The outcome, 30 days after the loan by default; a second one for a loan corrects the first."""
        await self._ingested.label(
            (
                loan.loan_id,
                loan.defaulted if defaulted is None else defaulted,
                known_at or loan.occurred_at + timedelta(days=30),
            )
            for loan in loans
        )

    async def history(self, *, first: int, last: int, feature_scores: dict[str, tuple[float, float]]) -> None:
        """Ten labelled loans a day, half of them defaults; each feature's score for a default and for a repaid loan."""
        loans = [
            Loan(uuid4().hex, day(n), label, {f: s[0 if label else 1] for f, s in feature_scores.items()})
            for n in range(first, last + 1)
            for label in [True, False] * 5
        ]
        await self.receive(loans, is_history=True)
        await self.label(loans)

    async def live_through(self, days: range, version: str, *, right: int, wrong: int) -> list[Loan]:
        """Loans arrive, are decided, and their outcomes follow."""
        loans = [loan for n in days for loan in loans_of_day(n, right=right, wrong=wrong)]
        await self.receive(loans)
        await self.decide(loans, version)
        await self.label(loans)
        return loans

    async def events(self, topic: Topic) -> list[Event]:
        rows = await self.pool.fetch(
            "SELECT payload FROM loan_data.outbox WHERE topic = $1 ORDER BY outbox_id", str(topic)
        )
        return [EVENT_OF_TOPIC[topic].model_validate_json(row["payload"]) for row in rows]

    async def rows(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.pool.fetch(
            "SELECT * FROM loan_data.model_performance WHERE kind = $1 ORDER BY performance_id", kind
        )
        return [dict(row) for row in rows]

    async def daily(self, version: str, n: int) -> dict[str, Any] | None:
        row = await self.pool.fetchrow(
            "SELECT * FROM loan_data.model_performance WHERE kind = 'daily' AND version = $1 AND day = $2",
            version,
            day(n).date(),
        )
        return dict(row) if row else None

    async def deployed(self) -> list[tuple[int, str, str, bool]]:
        rows = await self.pool.fetch(
            "SELECT deployment_seq, version, kind, pinned FROM loan_data.deployments ORDER BY deployment_seq"
        )
        return [tuple(row) for row in rows]

    async def breaches(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.pool.fetch("SELECT * FROM loan_data.breaches ORDER BY breach_id")]


async def settle(*judges: Judge) -> None:
    """Until none of them has anything left to judge."""
    for judge in judges:
        while await judge.look():
            pass


async def catch_up(rolling: RollingEvaluation) -> None:
    while await rolling.look():
        pass
