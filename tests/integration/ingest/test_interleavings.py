"""Whatever the order, the batches and the repetitions in which events arrive: what PostgreSQL holds, and since when."""

import json
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from loanloop_common.postgres import Pool, create_pool
from loanloop_ingest.store.loans import LoanStore

from tests.support.arrivals import READER, Arrivals, FakeArrivalStore, arrive
from tests.support.deliveries import EVENTS, KEPT, Batches, Kept, deliveries
from tests.support.loans import make_loan
from tests.support.outcomes import make_outcome
from tests.support.totals import fetch_totals

HISTORY = {"defaulted": True, "known_at": "2007-09-01T00:00:00Z"}
MANY = [
    *(make_loan(n) for n in range(4)),
    make_loan(4, outcome=HISTORY),
    make_loan(0, event_id=str(UUID(int=1)), occurred_at="2007-05-21T00:00:00Z"),
    *(make_outcome(n, correction=c) for n in range(6) for c in range(3)),
]


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test")
    yield pool
    await pool.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=deliveries())
async def test_any_interleaving_with_duplicates_leaves_the_same_tables(pool: Pool, batches: Batches) -> None:
    await empty(pool)
    store, offset = LoanStore(pool, READER.fields), 0
    for batch in batches:
        assert await store.store(arrive(batch, first_offset=offset)) == []
        offset += len(batch)

    assert await kept_in(pool) == KEPT
    assert await missing_in(pool) == missing_of(EVENTS)
    totals = (await fetch_totals(pool)).values()
    assert sum(t.stored for t in totals) == len(EVENTS)
    assert sum(t.duplicates for t in totals) == offset - len(EVENTS)


@pytest.mark.parametrize("seed", range(6))
async def test_any_interleaving_leaves_what_the_fake_holds(pool: Pool, seed: int) -> None:
    chance = random.Random(seed)
    events = MANY + chance.choices(MANY, k=12) + [make_loan(0, loan_id="other")]
    chance.shuffle(events)
    real, fake = LoanStore(pool, READER.fields), FakeArrivalStore()
    begun: list[datetime] = []
    offset = 0
    while offset < len(events):
        size = chance.randint(1, 12)
        batch = arrive(events[offset : offset + size], first_offset=offset)
        for _ in range(chance.randint(1, 2)):  # some batches are delivered again
            begun.append(await pool.fetchval("SELECT clock_timestamp()"))
            assert kinds(await real.store(batch)) == kinds(await fake.store(batch))
        offset += size
    assert await loans_in(pool) == loans_of(fake)
    assert await arrivals_in(pool, begun) == fake.arrivals
    assert await missing_in(pool) == fake.n_missing
    totals = await fetch_totals(pool)
    assert sum(t.stored for t in totals.values()) == len(fake.keys)
    assert sum(t.duplicates for t in totals.values()) == len(fake.duplicates)
    assert sum(t.rejected for t in totals.values()) == len(fake.rejected)


async def test_correction_moves_when_the_outcome_came_and_not_when_the_first_one_did(pool: Pool) -> None:
    store = LoanStore(pool, READER.fields)
    begun = []
    outdated = make_outcome(1, correction=2, occurred_at="2007-12-31T00:00:00Z")
    for offset, event in enumerate([make_loan(1), make_outcome(1), make_outcome(1, correction=1), outdated]):
        begun.append(await pool.fetchval("SELECT clock_timestamp()"))
        await store.store(arrive([event], first_offset=offset))

    assert await arrivals_in(pool, begun) == {"loan-1": Arrivals(loan=1, outcome=3, first_outcome=2)}


@pytest.mark.parametrize("ids", [(1, 2), (2, 1)])
async def test_loan_of_history_that_is_exported_again_gets_the_outcome_known_later(
    pool: Pool, ids: tuple[int, int]
) -> None:
    store = LoanStore(pool, READER.fields)
    outcomes = (HISTORY, {"defaulted": False, "known_at": "2007-09-02T00:00:00Z"})
    exported, again = (
        make_loan(1, event_id=str(UUID(int=event_id)), outcome=outcome)
        for event_id, outcome in zip(ids, outcomes, strict=True)
    )
    for offset, event in enumerate([exported, again]):
        await store.store(arrive([event], first_offset=offset))
    assert (await kept_in(pool))["loan-1"].outcome_event_id == UUID(again["event_id"])

    await empty(pool)
    for offset, event in enumerate([again, exported]):
        await store.store(arrive([event], first_offset=offset))
    assert (await kept_in(pool))["loan-1"].outcome_event_id == UUID(again["event_id"])


async def test_key_without_its_place_tells_a_redelivery_from_a_duplicate_by_the_raw_row(pool: Pool) -> None:
    store = LoanStore(pool, READER.fields)
    await store.store(arrive([make_loan(1), make_loan(2)]))
    await pool.execute("UPDATE loan_data.event_keys SET topic = NULL, kafka_partition = NULL, kafka_offset = NULL")

    await store.store(arrive([make_loan(1), make_loan(2)]))
    assert await pool.fetchval("SELECT count(*) FROM loan_data.duplicates") == 0

    await store.store(arrive([make_loan(2)], first_offset=2))
    assert await pool.fetchval("SELECT array_agg(kafka_offset) FROM loan_data.duplicates") == [2]


async def empty(pool: Pool) -> None:
    await pool.execute(
        "TRUNCATE loan_data.event_keys, loan_data.raw_data, loan_data.processed_data, loan_data.duplicates,"
        " loan_data.rejected, loan_data.data_quality"
    )


def kinds(refusals: Any) -> list[tuple[str, int, str]]:
    return sorted((r.record.topic, r.record.offset, r.reason) for r in refusals)


async def kept_in(pool: Pool) -> dict[str, Kept]:
    rows = await pool.fetch(
        "SELECT loan_id, event_id, features, is_history, outcome_event_id, defaulted FROM loan_data.processed_data"
    )
    return {loan_id: Kept(*rest) for loan_id, *rest in rows}


def loans_of(fake: FakeArrivalStore) -> dict[str, tuple[object, ...]]:
    return {
        loan_id: (
            c.loan_event_id,
            c.loan and c.loan.occurred_at,
            c.loan and json.loads(c.loan.features),
            c.loan and c.loan.is_history,
            c.loan and c.loan.matured_at,
            c.outcome_event_id,
            c.outcome and c.outcome.occurred_at,
            c.outcome and c.outcome.defaulted,
            c.outcome and c.outcome.known_at,
        )
        for loan_id, c in fake.loans.items()
    }


async def loans_in(pool: Pool) -> dict[str, tuple[object, ...]]:
    rows = await pool.fetch(
        """
        SELECT loan_id, event_id, occurred_at, features, is_history, matured_at,
               outcome_event_id, outcome_occurred_at, defaulted, known_at
        FROM loan_data.processed_data
        """
    )
    return {loan_id: tuple(rest) for loan_id, *rest in rows}


async def arrivals_in(pool: Pool, begun: list[datetime]) -> dict[str, Arrivals]:
    """By the numbers, from 1, of the batches that began at these moments."""
    rows = await pool.fetch(
        "SELECT loan_id, received_at, outcome_received_at, outcome_first_received_at FROM loan_data.processed_data"
    )
    return {loan_id: Arrivals(*(at and bisect_right(begun, at) for at in moments)) for loan_id, *moments in rows}


async def missing_in(pool: Pool) -> dict[str, int]:
    rows = await pool.fetch("SELECT field, sum(n_missing)::integer AS n FROM loan_data.data_quality GROUP BY field")
    return {row["field"]: row["n"] for row in rows}


def missing_of(events: list[dict[str, Any]]) -> dict[str, int]:
    features = [event["features"] for event in events if "features" in event]
    missing = Counter(name for loan in features for name in READER.fields if loan.get(name) is None)
    return {name: missing[name] for name in READER.fields}
