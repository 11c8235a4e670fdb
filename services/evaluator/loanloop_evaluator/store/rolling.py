"""Decided outcomes by day, the daily rows, and breaches."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from loanloop_common.event_time import fetch_as_of
from loanloop_common.postgres import Connection, Pool

from loanloop_evaluator.domain.clock import spans_of, start_of
from loanloop_evaluator.domain.rolling import DailyRow, WindowValue
from loanloop_evaluator.store.reign import fetch_reign

DecidedRow = tuple[date, float, bool, bool]

LOCK_ROLLING = "SELECT pg_advisory_xact_lock(hashtext('loan_data.rolling.' || $1))"

SELECT_NOW = "SELECT now()"

SELECT_LAST_LOOK = """
    SELECT coalesce(
        (SELECT max(evaluated_at) FROM loan_data.model_performance WHERE kind = 'daily'),
        (SELECT min(deployed_at) FROM loan_data.deployments WHERE slot = $1))
"""

SELECT_RECORDED_TO = "SELECT max(day) FROM loan_data.model_performance WHERE kind = 'daily'"

SELECT_FIRST_DAY = """
    SELECT (min(counts_at) AT TIME ZONE 'UTC')::date FROM loan_data.processed_data
    WHERE counts_at IS NOT NULL AND is_history IS NOT TRUE
"""

# Materialized: the planner would look up the decision of every loan there is, and filter by day after.
SELECT_DECIDED = """
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
"""

SELECT_WINDOWS = """
    SELECT version, day, (metrics #>> '{window,n_loans}')::bigint AS n_loans, value, upper
    FROM loan_data.model_performance
    WHERE kind = 'daily' AND day BETWEEN $1 AND $2
"""

UPSERT_DAY = """
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
"""


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
            await connection.execute(LOCK_ROLLING, self._slot)
            yield connection

    async def fetch_now(self) -> datetime:
        async with self._pool.acquire() as connection:
            now: datetime = await connection.fetchval(SELECT_NOW)
            return now

    async def fetch_last_look(self) -> datetime | None:
        """A moment before which every label of a closed day has been counted; None while nothing was deployed."""
        async with self._pool.acquire() as connection:
            last: datetime | None = await connection.fetchval(SELECT_LAST_LOOK, self._slot)
            return last

    async def fetch_as_of(self, connection: Connection) -> datetime | None:
        return await fetch_as_of(connection, self._min_outcomes)

    async def fetch_reign(self, connection: Connection) -> Reign | None:
        row = await fetch_reign(connection, self._slot)
        return Reign(row["version"], row["deployment_seq"], row["as_of"]) if row else None

    async def fetch_recorded_to(self, connection: Connection) -> date | None:
        """The newest day that has been recorded as closed."""
        day: date | None = await connection.fetchval(SELECT_RECORDED_TO)
        return day

    async def fetch_first_day(self, connection: Connection) -> date | None:
        """The day of the first outcome that a decision of ours can have."""
        day: date | None = await connection.fetchval(SELECT_FIRST_DAY)
        return day

    async def fetch_decided(self, connection: Connection, days: Iterable[date]) -> dict[str, list[DecidedRow]]:
        """By version: day, probability, declined and defaulted of each loan whose outcome counts on one of `days`.

        Only a loan's first decision, and only if it was made before the first outcome came in.
        """
        decided: dict[str, list[DecidedRow]] = defaultdict(list)
        for first, last in spans_of(days):
            rows = await connection.fetch(SELECT_DECIDED, start_of(first), start_of(last + timedelta(days=1)))
            for version, *row in rows:
                decided[version].append(tuple(row))
        return decided

    async def fetch_windows(self, connection: Connection, first: date, last: date) -> dict[str, list[WindowValue]]:
        """By version: the recorded windows that end on the days from `first` to `last`."""
        rows = await connection.fetch(SELECT_WINDOWS, first, last)
        windows: dict[str, list[WindowValue]] = defaultdict(list)
        for version, *window in rows:
            windows[version].append(WindowValue(*window))
        return windows

    async def record_days(self, connection: Connection, rows: Sequence[DailyRow]) -> None:
        """One row a version and day; a row that says the same already stays as it is."""
        await connection.executemany(UPSERT_DAY, [_performance_of(row) for row in rows])


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
