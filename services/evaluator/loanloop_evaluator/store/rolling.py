"""Decided outcomes by day, the daily rows, and breaches."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from loanloop_common.event_time import fetch_as_of
from loanloop_common.postgres import Connection, Pool

from loanloop_evaluator.domain.clock import spans_of, start_of
from loanloop_evaluator.domain.rolling import DailyRow, WindowValue

DecidedRow = tuple[date, float, bool, bool]


class _Known(msgspec.Struct):
    known_at: datetime


class Signature(NamedTuple):
    """Of a day's labels: another one whenever a label comes, is corrected or moves."""

    n_labels: int
    labels_received: Decimal
    loans_received: Decimal


@dataclass(frozen=True, slots=True)
class Reign:
    """Since when the live version has been live without a break."""

    version: str
    deployment_seq: int
    as_of: datetime | None


class RollingStore:
    def __init__(self, pool: Pool, *, slot: str, min_outcomes: int) -> None:
        self._pool = pool
        self._slot = slot
        self._min_outcomes = min_outcomes

    @asynccontextmanager
    async def look(self) -> AsyncIterator[Connection]:
        """A transaction in which no other evaluator records days."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('loan_data.rolling.' || $1))", self._slot)
            yield connection

    async def fetch_now(self) -> datetime:
        async with self._pool.acquire() as connection:
            now: datetime = await connection.fetchval("SELECT now()")
            return now

    async def fetch_last_look(self) -> datetime | None:
        """A moment before which every label of a closed day has been counted; None while nothing was deployed."""
        async with self._pool.acquire() as connection:
            last: datetime | None = await connection.fetchval(
                """
                SELECT coalesce(
                    (SELECT max(evaluated_at) FROM loan_data.model_performance WHERE kind = 'daily'),
                    (SELECT min(deployed_at) FROM loan_data.deployments WHERE slot = $1))
                """,
                self._slot,
            )
            return last

    async def fetch_as_of(self, connection: Connection) -> datetime | None:
        return await fetch_as_of(connection, self._min_outcomes)

    async def fetch_reign(self, connection: Connection) -> Reign | None:
        row = await connection.fetchrow(
            """
            WITH live AS (
                SELECT version, deployment_seq FROM loan_data.deployments
                WHERE slot = $1 ORDER BY deployment_seq DESC LIMIT 1
            )
            SELECT live.version, live.deployment_seq, first.as_of
            FROM live CROSS JOIN LATERAL (
                SELECT as_of FROM loan_data.deployments
                WHERE slot = $1 AND deployment_seq > coalesce((
                    SELECT max(deployment_seq) FROM loan_data.deployments
                    WHERE slot = $1 AND version <> live.version), 0)
                ORDER BY deployment_seq
                LIMIT 1
            ) first
            """,
            self._slot,
        )
        return Reign(*row) if row else None

    async def fetch_recorded_to(self, connection: Connection) -> date | None:
        """The newest day that has been recorded as closed."""
        day: date | None = await connection.fetchval(
            "SELECT max(day) FROM loan_data.model_performance WHERE kind = 'daily'"
        )
        return day

    async def fetch_first_day(self, connection: Connection) -> date | None:
        """The day of the first outcome that a decision of ours can have."""
        day: date | None = await connection.fetchval(
            """
            SELECT (min(counts_at) AT TIME ZONE 'UTC')::date FROM loan_data.processed_data
            WHERE counts_at IS NOT NULL AND is_history IS NOT TRUE
            """
        )
        return day

    async def fetch_touched_days(self, connection: Connection, since: datetime, up_to: date) -> dict[date, Signature]:
        """Days to `up_to` whose labels, or whose loans, arrived at or after `since`."""
        rows = await connection.fetch(
            """
            SELECT DISTINCT (counts_at AT TIME ZONE 'UTC')::date AS day FROM (
                SELECT counts_at, is_history FROM loan_data.processed_data
                WHERE counts_at IS NOT NULL AND outcome_received_at >= $1
                UNION ALL
                SELECT counts_at, is_history FROM loan_data.processed_data
                WHERE counts_at IS NOT NULL AND received_at >= $1
            ) arrived
            WHERE is_history IS NOT TRUE AND counts_at < $2
            """,
            since,
            start_of(up_to + timedelta(days=1)),
        )
        days = {row["day"] for row in rows} | await self._left_days(connection, since, up_to)
        return dict.fromkeys(days, Signature(0, Decimal(0), Decimal(0))) | await self._signatures(connection, days)

    async def _signatures(self, connection: Connection, days: Iterable[date]) -> dict[date, Signature]:
        signatures: dict[date, Signature] = {}
        for first, last in spans_of(days):
            rows = await connection.fetch(
                """
                SELECT (counts_at AT TIME ZONE 'UTC')::date AS day, count(*),
                       sum(extract(epoch FROM outcome_received_at)), sum(extract(epoch FROM received_at))
                FROM loan_data.processed_data
                WHERE counts_at >= $1 AND counts_at < $2 AND is_history IS NOT TRUE
                GROUP BY 1
                """,
                start_of(first),
                start_of(last + timedelta(days=1)),
            )
            signatures |= {row[0]: Signature(*row[1:]) for row in rows}
        return signatures

    async def _left_days(self, connection: Connection, since: datetime, up_to: date) -> set[date]:
        """Days that corrections moved loans away from: as the loans' earlier outcomes said."""
        rows = await connection.fetch(
            """
            SELECT r.payload, p.matured_at
            FROM loan_data.processed_data p
            JOIN loan_data.raw_data r ON r.loan_id = p.loan_id AND r.topic = 'loan.outcome'
            WHERE p.counts_at IS NOT NULL AND p.is_history IS NOT TRUE
              AND p.outcome_received_at >= $1 AND p.outcome_received_at > p.outcome_first_received_at
            """,
            since,
        )
        outcomes = ((msgspec.json.decode(row["payload"], type=_Known), row["matured_at"]) for row in rows)
        days = {max(outcome.known_at, matured_at).astimezone(UTC).date() for outcome, matured_at in outcomes}
        return {day for day in days if day <= up_to}

    async def fetch_decided(self, connection: Connection, days: Iterable[date]) -> dict[str, list[DecidedRow]]:
        """By version: day, probability, declined and defaulted of each loan whose outcome counts on one of `days`.

        Only a loan's first decision, and only if it was made before the first outcome came in.
        """
        decided: dict[str, list[DecidedRow]] = defaultdict(list)
        for first, last in spans_of(days):
            # Materialized: the planner would look up the decision of every loan there is, and filter by day after.
            rows = await connection.fetch(
                """
                WITH labelled AS MATERIALIZED (
                    SELECT loan_id, counts_at, defaulted, outcome_first_received_at FROM loan_data.processed_data
                    WHERE counts_at >= $1 AND counts_at < $2 AND is_history IS NOT TRUE
                )
                SELECT d.version, (labelled.counts_at AT TIME ZONE 'UTC')::date AS day, d.probability,
                       d.decision = 'decline' AS declined, labelled.defaulted
                FROM labelled CROSS JOIN LATERAL (
                    SELECT version, probability, decision, decided_at FROM loan_data.predictions
                    WHERE loan_id = labelled.loan_id
                    ORDER BY decided_at, decision_id
                    LIMIT 1
                ) d
                WHERE d.decided_at < labelled.outcome_first_received_at
                """,
                start_of(first),
                start_of(last + timedelta(days=1)),
            )
            for version, *row in rows:
                decided[version].append(tuple(row))
        return decided

    async def fetch_windows(self, connection: Connection, first: date, last: date) -> dict[str, list[WindowValue]]:
        """By version: the recorded windows that end on the days from `first` to `last`."""
        rows = await connection.fetch(
            """
            SELECT version, day, (metrics #>> '{window,n_loans}')::bigint AS n_loans, value, upper
            FROM loan_data.model_performance
            WHERE kind = 'daily' AND day BETWEEN $1 AND $2
            """,
            first,
            last,
        )
        windows: dict[str, list[WindowValue]] = defaultdict(list)
        for version, *window in rows:
            windows[version].append(WindowValue(*window))
        return windows

    async def record_days(self, connection: Connection, rows: Sequence[DailyRow]) -> None:
        """One row a version and day; a row that says the same already stays as it is."""
        await connection.executemany(
            """
            INSERT INTO loan_data.model_performance AS old
                (kind, version, role, day, window_from, window_to, n_loans, tp, fp, tn, fn, f1, metrics,
                 value, lower, upper)
            VALUES ('daily', $1, 'champion', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            ON CONFLICT (version, day) WHERE kind = 'daily' DO UPDATE SET
                window_from = excluded.window_from, window_to = excluded.window_to, n_loans = excluded.n_loans,
                tp = excluded.tp, fp = excluded.fp, tn = excluded.tn, fn = excluded.fn, f1 = excluded.f1,
                metrics = excluded.metrics, value = excluded.value, lower = excluded.lower, upper = excluded.upper,
                evaluated_at = now()
            WHERE old.metrics IS DISTINCT FROM excluded.metrics
            """,
            [_performance_of(row) for row in rows],
        )


def _performance_of(row: DailyRow) -> tuple[Any, ...]:
    counts, window = row.counts, row.window
    return (
        row.version,
        row.day,
        start_of(row.window_from),
        start_of(row.day + timedelta(days=1)),
        *(counts.n, counts.tp, counts.fp, counts.tn, counts.fn, counts.f1),
        row.metrics,
        *(window.value, row.lower, window.upper),
    )
