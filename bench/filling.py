"""Decisions in their tables that no predictor has made, for what is measured where many are stored.

They have the keys, the order, the indexes and the partition of real ones: 4,096 rows a transaction, each a copy of a
decision that the predictor made, under ids of its own.
"""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from loanloop_common.postgres import Pool
from loanloop_predictor.domain.decisions import time_ordered_ids

BATCH = 4096
_AFTER_CHECKPOINT = 0.03  # about three for each page of the indexes that are hit anywhere
_WITHIN_S = 1800.0
Batch = tuple[list[UUID], list[UUID], list[str], datetime]

COPY_SOME = """
    CREATE TABLE bench_decisions AS
    SELECT row_number() OVER () AS n, key.payload_sha256, prediction.*
    FROM loan_data.predictions AS prediction JOIN loan_data.decision_keys AS key USING (decision_id, event_id)
    LIMIT 4096
"""

# As the predictor stores a batch: keys and predictions in the order of the keys, all of one moment.
FILL = """
    WITH made AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY
                      AS fresh (event_id, decision_id, loan_id, n)
    ), keys AS (
        INSERT INTO loan_data.decision_keys (event_id, decision_id, payload_sha256, decided_at)
        SELECT made.event_id, made.decision_id, payload_sha256, $4
        FROM made JOIN bench_decisions USING (n) ORDER BY n
    )
    INSERT INTO loan_data.predictions (
        decision_id, event_id, loan_id, occurred_at, features, probability, threshold, decision, version,
        deployment_seq, engine, latency_ms, channel, decided_at
    )
    SELECT made.decision_id, made.event_id, made.loan_id, occurred_at, features, probability, threshold, decision,
           version, deployment_seq, engine, latency_ms, channel, $4
    FROM made JOIN bench_decisions USING (n) ORDER BY n
"""


def scattered(i: int) -> str:
    """A loan id that tells nothing of when the loan came: all over the index, the dearest for it."""
    return hashlib.md5(f"{i}".encode()).hexdigest()[:12]


async def n_decided(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM loan_data.decision_keys"))


async def fill_up(pool: Pool, n_decisions: int) -> None:
    """Until so many are stored, and vacuumed as after some time; copies of real ones, which must be there already.

    A checkpoint comes before the last few: writing out what fills the tables is no cost of what follows, nor are the
    whole pages that PostgreSQL logs at the first write to each after it.
    """
    n_before = await n_decided(pool)
    n_last = int((n_decisions - n_before) * _AFTER_CHECKPOINT)
    if await pool.fetchval("SELECT to_regclass('bench_decisions')") is None:
        await pool.execute(COPY_SOME)
    now = datetime.now(UTC)
    for batch in _batches(n_before, n_decisions - n_last, now, of=n_decisions):
        await pool.execute(FILL, *batch)
    await pool.execute("CHECKPOINT", timeout=_WITHIN_S)
    for batch in _batches(n_decisions - n_last, n_decisions, now, of=n_decisions):
        await pool.execute(FILL, *batch)
    await pool.execute("VACUUM (ANALYZE) loan_data.decision_keys, loan_data.predictions", timeout=_WITHIN_S)


async def empty(pool: Pool) -> None:
    """All decisions are gone; `fill_up` can begin anew."""
    await pool.execute("TRUNCATE loan_data.decision_keys, loan_data.predictions")


def _batches(first: int, last: int, now: datetime, *, of: int) -> Iterator[Batch]:
    """Decided from the start of the month on: into the partition that is in use, in the order of time."""
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for start in range(first, last, BATCH):
        n = min(BATCH, last - start)
        decided_at: datetime = month + (now - month) * (start / of)
        event_ids = sorted(UUID(bytes=os.urandom(16), version=4) for _ in range(n))
        decision_ids = time_ordered_ids(int(decided_at.timestamp() * 1000), os.urandom(10 * n))
        yield event_ids, decision_ids, [scattered(-i) for i in range(start, start + n)], decided_at
