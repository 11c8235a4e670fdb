"""Decisions that the benchmark `scale` writes by SQL are stored as the predictor's own are."""

import os
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from loanloop_common.postgres import create_pool
from loanloop_predictor.domain.decisions import Decision, StoredDecision, time_ordered_ids
from loanloop_predictor.store.decisions import DecisionStore

from bench.filling import BATCH, empty, fill_up, n_decided

pytestmark = pytest.mark.timeout(300)

KEYS_OF_ROWS = """
    SELECT count(*), count(DISTINCT prediction.event_id), count(DISTINCT prediction.tableoid)
    FROM loan_data.decision_keys AS key JOIN loan_data.predictions AS prediction
        USING (event_id, decision_id, decided_at)
"""


def make_decision(number: int, decision_id: UUID) -> Decision:
    return Decision(
        decision_id=decision_id, event_id=uuid4(), payload_sha256=os.urandom(32), loan_id=f"loan-{number}",
        occurred_at=datetime(2006, 1, 1, tzinfo=UTC), features='{"state":"CA"}', probability=0.25, threshold=0.5,
        decision="approve", version="v1", deployment_seq=1, engine="some", latency_ms=1.0, channel="stream",
    )  # fmt: skip


async def test_each_filled_decision_has_its_key_and_its_row_and_can_be_read_back(database: str) -> None:
    async with await create_pool(database, application_name="test") as pool:
        store = DecisionStore(pool)
        ids = time_ordered_ids(1_700_000_000_000, os.urandom(10 * BATCH))
        await store.record_streamed([make_decision(n, decision_id) for n, decision_id in enumerate(ids)])

        await fill_up(pool, 10_000)

        assert [tuple(row) for row in await pool.fetch(KEYS_OF_ROWS)] == [(10_000, 10_000, 1)]
        oldest = await pool.fetchval("SELECT decision_id FROM loan_data.predictions ORDER BY decided_at LIMIT 1")
        assert oldest not in ids
        read = await store.fetch_decision(oldest)
        assert isinstance(read, StoredDecision)
        assert read.decision.features == '{"state":"CA"}'
        await empty(pool)
        await fill_up(pool, 5_000)
        assert await n_decided(pool) == 5_000
