"""Candidates, the frozen window they are judged on, and the verdict; with it, at once, the deployment."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from loanloop_common.alerts import Alert, raise_alert
from loanloop_common.event_time import fetch_as_of
from loanloop_common.events import ModelDeployed, ModelEvaluated, Topic
from loanloop_common.outbox import enqueue
from loanloop_common.postgres import Connection, Pool

from loanloop_evaluator.domain.deployment import Candidate, Live, automatic, seq_of
from loanloop_evaluator.domain.gate import GateRule, Judged, Verdict
from loanloop_evaluator.store.deployments import (
    SERVICE,
    StoredBundle,
    fetch_bundle,
    fetch_live,
    lock_slot,
    record_deployment,
)

ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with all that led to it. `judged_seq` is the deployment of the champion, 0 without one."""

    challenger: Judged
    champion: Judged | None
    opponent: str | None
    judged_seq: int
    verdict: Verdict
    window_from: datetime
    window_to: datetime
    as_of: datetime | None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """`outdated`: another version went live meanwhile, nothing was written, judge again. `known`: already recorded."""

    outcome: Literal["written", "outdated", "known"]
    deployed: ModelDeployed | None = None


@dataclass(frozen=True, slots=True)
class GateWindow:
    """The window as of one moment: whatever is stored meanwhile, every pass over it gives the same loans."""

    connection: Connection
    as_of: datetime
    after: datetime

    async def loans(self) -> AsyncIterator[Sequence[Any]]:
        """Batches of (features as JSON text, defaulted, occurred_at), in order of occurrence."""
        cursor = await self.connection.cursor(
            """
            SELECT features::text AS features, defaulted, occurred_at FROM loan_data.processed_data
            WHERE counts_at <= $1 AND occurred_at > $2
            ORDER BY occurred_at, loan_id
            """,
            self.as_of,
            self.after,
        )
        while batch := await cursor.fetch(ROWS_AT_ONCE):
            yield batch


class GateStore:
    def __init__(self, pool: Pool, *, slot: str, rule: GateRule, min_outcomes: int) -> None:
        self._pool = pool
        self._slot = slot
        self._rule = rule
        self._min_outcomes = min_outcomes

    async def fetch_candidates(self) -> tuple[list[Candidate], Live | None]:
        """Versions newer than any that has been live, with their newest verdict."""
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            live = await fetch_live(connection, self._slot)
            rows = await connection.fetch(
                """
                SELECT m.version, m.number, p.passed, (p.metrics ->> 'judged_seq')::bigint AS judged_seq
                FROM loan_data.model_metadata m
                LEFT JOIN LATERAL (
                    SELECT passed, metrics FROM loan_data.model_performance
                    WHERE kind = 'gate' AND role = 'challenger' AND version = m.version
                    ORDER BY evaluated_at DESC
                    LIMIT 1
                ) p ON true
                WHERE m.portfolio = $1 AND m.number > coalesce((
                    SELECT max(x.number) FROM loan_data.deployments d
                    JOIN loan_data.model_metadata x ON x.version = d.version
                    WHERE d.slot = $1), 0)
                """,
                self._slot,
            )
        return [Candidate(*row) for row in rows], live

    async def fetch_as_of(self) -> datetime | None:
        async with self._pool.acquire() as connection:
            return await fetch_as_of(connection, self._min_outcomes)

    async def fetch_bundle(self, version: str) -> StoredBundle:
        async with self._pool.acquire() as connection:
            bundle = await fetch_bundle(connection, version)
        if bundle is None:
            raise LookupError(f"{version} has no row in model_metadata")
        return bundle

    async def count_loans(self, as_of: datetime, after: datetime) -> int:
        """How many loans the window has, counted no further than the gate needs."""
        async with self._pool.acquire() as connection:
            n: int = await connection.fetchval(
                """
                SELECT count(*) FROM (
                    SELECT FROM loan_data.processed_data WHERE counts_at <= $1 AND occurred_at > $2 LIMIT $3
                ) enough
                """,
                as_of,
                after,
                self._rule.min_loans,
            )
            return n

    @asynccontextmanager
    async def frozen_window(self, as_of: datetime, after: datetime) -> AsyncIterator[GateWindow]:
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield GateWindow(connection, as_of, after)

    async def alert_of_unreadable_champion(self, live: Live, challenger: str, reason: str) -> bool:
        """Once for a deployment; False where it has been said."""
        alert = Alert(
            kind="model_refused",
            fact=f"champion:{live.deployment_seq}",
            severity="critical",
            message=f"{reason}. {challenger} and later versions are not deployed without a comparison: "
            f"`loanloop promote {challenger}` overrules, `loanloop rollback` goes back",
            details={"version": live.version, "deployment_seq": live.deployment_seq, "challenger": challenger},
        )
        async with self._pool.acquire() as connection, connection.transaction():
            return await raise_alert(connection, alert, service=SERVICE)

    async def record(self, judgement: Judgement) -> Recorded:
        """The verdict, its event and, if it passed and no pin holds, the deployment: all or nothing."""
        async with self._pool.acquire() as connection, connection.transaction():
            await lock_slot(connection, self._slot)
            live = await fetch_live(connection, self._slot)
            if seq_of(live) != judgement.judged_seq:
                return Recorded("outdated")
            if await _is_known(connection, judgement):
                return Recorded("known")
            await self._write(connection, judgement)
            deployment = automatic(judgement.challenger.version, live) if judgement.verdict.passed else None
            if deployment is None:
                return Recorded("written")
            deployed = await record_deployment(
                connection, self._slot, deployment,
                actor=SERVICE, reason=judgement.verdict.reason, as_of=judgement.as_of,
            )  # fmt: skip
            return Recorded("written", deployed)

    async def _write(self, connection: Connection, judgement: Judgement) -> None:
        await _upsert_row(connection, judgement, judgement.challenger, role="challenger")
        if judgement.champion is not None:
            await _upsert_row(connection, judgement, judgement.champion, role="champion")
        event = _evaluated(judgement, self._rule)
        await enqueue(connection, service=SERVICE, topic=Topic.MODEL_EVALUATED, key=event.version, event=event)
        if judgement.refused:
            await _raise_refusal(connection, judgement)


async def _is_known(connection: Connection, judgement: Judgement) -> bool:
    known: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM loan_data.model_performance
            WHERE kind = 'gate' AND role = 'challenger' AND version = $1 AND metrics ->> 'judged_seq' = $2::text)
        """,
        judgement.challenger.version,
        str(judgement.judged_seq),
    )
    return known


async def _upsert_row(connection: Connection, judgement: Judgement, judged: Judged, *, role: str) -> None:
    is_challenger = role == "challenger"
    counts, bounds = judged.counts, judged.bounds
    as_of = judgement.as_of.isoformat() if judgement.as_of else None
    await connection.execute(
        """
        INSERT INTO loan_data.model_performance
            (kind, version, role, opponent, window_from, window_to, n_loans, tp, fp, tn, fn, f1, metrics,
             value, lower, upper, passed, reason, evaluated_at)
        VALUES ('gate', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, clock_timestamp())
        ON CONFLICT (version, coalesce(opponent, ''), role) WHERE kind = 'gate' DO UPDATE SET
            window_from = excluded.window_from, window_to = excluded.window_to, n_loans = excluded.n_loans,
            tp = excluded.tp, fp = excluded.fp, tn = excluded.tn, fn = excluded.fn, f1 = excluded.f1,
            metrics = excluded.metrics, value = excluded.value, lower = excluded.lower, upper = excluded.upper,
            passed = excluded.passed, reason = excluded.reason, evaluated_at = excluded.evaluated_at
        """,
        judged.version, role, judgement.opponent if is_challenger else judgement.challenger.version,
        judgement.window_from, judgement.window_to, counts.n, counts.tp, counts.fp, counts.tn, counts.fn, counts.f1,
        judged.metrics | {"judged_seq": judgement.judged_seq, "as_of": as_of},
        judged.value, bounds.lower if bounds else None, bounds.upper if bounds else None,
        judgement.verdict.passed if is_challenger else None, judgement.verdict.reason if is_challenger else None,
    )  # fmt: skip


def _evaluated(judgement: Judgement, rule: GateRule) -> ModelEvaluated:
    return ModelEvaluated(
        occurred_at=judgement.as_of or judgement.window_to,
        version=judgement.challenger.version,
        role="challenger",
        verdict="passed" if judgement.verdict.passed else "rejected",
        reason=judgement.verdict.reason,
        metric="f1" if rule.metric == "f1" else "roc_auc",
        value=judgement.challenger.value,
        threshold=rule.at_least,
        n_loans=judgement.challenger.counts.n,
        metrics=judgement.challenger.metrics,
        window_from=judgement.window_from,
        window_to=judgement.window_to,
        opponent=judgement.opponent,
    )


async def _raise_refusal(connection: Connection, judgement: Judgement) -> None:
    version = judgement.challenger.version
    alert = Alert(
        kind="model_refused",
        fact=version,
        severity="warning",
        message=judgement.verdict.reason,
        details={"version": version},
        occurred_at=judgement.as_of or judgement.window_to,
    )
    await raise_alert(connection, alert, service=SERVICE)
