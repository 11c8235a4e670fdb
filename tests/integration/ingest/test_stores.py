"""The stores of ingest on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg.exceptions import CheckViolationError
from loanloop_common.bisection import bisect_batch
from loanloop_common.dead_letters import refusal_of
from loanloop_common.errors import InvalidField
from loanloop_common.events import Topic
from loanloop_common.postgres import Pool, create_pool
from loanloop_ingest.store.loans import Arrived, LoanStore
from loanloop_ingest.store.reconciliation import ReconciliationStore

from tests.support.arrivals import READER, arrive
from tests.support.eventually import eventually
from tests.support.loans import make_loan
from tests.support.outcomes import make_outcome
from tests.support.totals import fetch_totals, fetch_waiting_outcomes

TAKE_KEY = "INSERT INTO loan_data.event_keys (event_id, payload_sha256) VALUES ($1, 'of another payload')"
N_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test")
    yield pool
    await pool.close()


async def test_place_refused_once_stays_refused(pool: Pool) -> None:
    store = LoanStore(pool, READER.fields)
    (arrived,) = arrive([make_loan(1)])
    early = InvalidField("occurred_at", "tomorrow", "must not lie in the future")
    await store.store([Arrived(arrived.record, refusal_of(arrived.record, early))])

    (refusal,) = await store.store([arrived])

    assert (refusal.reason, refusal.field, refusal.rule) == ("invalid_field", "occurred_at", early.rule)
    assert (await fetch_totals(pool))[Topic.LOAN_RECEIVED].stored == 0


async def test_another_message_at_a_refused_place_is_judged_by_itself(pool: Pool) -> None:
    """A topic made anew counts its offsets from 0 again."""
    store = LoanStore(pool, READER.fields)
    (bad,) = arrive([make_loan(1)])
    await store.store([Arrived(bad.record, refusal_of(bad.record, InvalidField("features.state", "??", "unknown")))])

    assert await store.store(arrive([make_loan(2)])) == []

    assert (await fetch_totals(pool))[Topic.LOAN_RECEIVED].stored == 1


async def test_message_that_is_stored_or_counted_is_not_rejected_when_the_portfolio_allows_less(pool: Pool) -> None:
    """Ingest died before it committed the offsets, and starts again with other limits."""
    store = LoanStore(pool, READER.fields)
    before = arrive([make_loan(1), make_outcome(1), make_loan(1), make_loan(2)])
    await store.store(before)
    await pool.execute(
        "UPDATE loan_data.event_keys SET topic = NULL WHERE event_id = $1", UUID(make_loan(2)["event_id"])
    )

    for _ in range(2):
        refusals = await store.store([refused(each) for each in (*before, *arrive([make_loan(3)], first_offset=4))])
        assert kinds(refusals) == [(Topic.LOAN_RECEIVED, 4, "invalid_field")]

    totals = (await fetch_totals(pool))[Topic.LOAN_RECEIVED]
    assert (totals.stored, totals.duplicates, totals.rejected) == (2, 1, 1)
    assert (await fetch_totals(pool))[Topic.LOAN_OUTCOME].add_up


async def test_other_bytes_at_the_place_of_a_stored_event_are_rejected(pool: Pool) -> None:
    store = LoanStore(pool, READER.fields)
    await store.store(arrive([make_loan(1)]))

    (other,) = arrive([make_loan(1, loan_id="other")])
    refusals = await store.store([refused(other)])

    assert kinds(refusals) == [(Topic.LOAN_RECEIVED, 0, "invalid_field")]
    assert await pool.fetchval("SELECT count(*) FROM loan_data.rejected") == 1


def refused(arrived: Arrived) -> Arrived:
    error = InvalidField("features.term_months", 300, "must be at most 12")
    return Arrived(arrived.record, refusal_of(arrived.record, error))


async def test_books_count_what_lies_at_the_old_places_of_a_topic_made_anew(pool: Pool) -> None:
    store = LoanStore(pool, READER.fields)
    known, taken = [make_loan(1), make_loan(2)], [make_loan(n, loan_id="other") for n in (1, 2)]
    await store.store(arrive([*known, known[0], taken[0]]))

    for _ in range(2):  # what is delivered again is counted once all the same
        refusals = await store.store(arrive([make_loan(3), make_loan(4), known[1], taken[1]]))
        assert kinds(refusals) == [(Topic.LOAN_RECEIVED, 3, "conflict")]

    totals = (await fetch_totals(pool))[Topic.LOAN_RECEIVED]
    assert (totals.stored, totals.duplicates, totals.rejected) == (4, 2, 2)


async def test_event_whose_raw_data_was_dropped_is_a_duplicate(pool: Pool) -> None:
    store = LoanStore(pool, READER.fields)
    await store.store(arrive([make_loan(1)]))
    await drop_raw_data(pool)
    await pool.execute("SELECT loan_data.ensure_partitions()")

    refusals = await store.store(arrive([make_loan(1), make_loan(1, loan_id="other")], first_offset=7))

    assert kinds(refusals) == [(Topic.LOAN_RECEIVED, 8, "conflict")]
    totals = (await fetch_totals(pool))[Topic.LOAN_RECEIVED]
    assert (totals.stored, totals.duplicates, totals.rejected) == (0, 1, 1)
    assert await pool.fetchval("SELECT count(*) FROM loan_data.processed_data") == 1


async def test_missing_partition_refuses_no_loan(pool: Pool) -> None:
    await drop_raw_data(pool)
    store = LoanStore(pool, READER.fields)
    arrived = arrive([make_loan(n) for n in range(3)])

    with pytest.raises(CheckViolationError, match="no partition"):
        await bisect_batch(arrived, store.store)

    assert await pool.fetchval("SELECT count(*) FROM loan_data.rejected") == 0
    await pool.execute("SELECT loan_data.ensure_partitions()")
    assert await bisect_batch(arrived, store.store) == []
    assert (await fetch_totals(pool))[Topic.LOAN_RECEIVED].stored == 3


async def drop_raw_data(pool: Pool) -> None:
    """As an operator drops old months."""
    rows = await pool.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'loan_data.raw_data'::regclass"
    )
    for row in rows:
        await pool.execute(f"DROP TABLE {row['name']}")


@pytest.mark.parametrize("taken", ["event_keys", "processed_data"])
async def test_what_another_replica_stores_meanwhile_is_seen_when_it_has(pool: Pool, taken: str) -> None:
    store = LoanStore(pool, READER.fields)
    loan, outcome = make_loan(1), make_outcome(1)
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        if taken == "event_keys":
            await other.execute(TAKE_KEY, UUID(loan["event_id"]))
        else:
            await other.execute("INSERT INTO loan_data.processed_data (loan_id) VALUES ('loan-1')")
        storing = asyncio.create_task(store.store(arrive([make_loan(0), loan, outcome])))
        await eventually(partial(pool.fetchval, N_WAITING))
        await transaction.commit()

    refusals = await storing

    totals = await fetch_totals(pool)
    if taken == "event_keys":
        assert kinds(refusals) == [(Topic.LOAN_RECEIVED, 1, "conflict")]
        assert (totals[Topic.LOAN_RECEIVED].stored, totals[Topic.LOAN_RECEIVED].rejected) == (1, 1)
    else:
        assert refusals == []
        assert await pool.fetchval("SELECT count(*) FROM loan_data.processed_data WHERE counts_at IS NOT NULL") == 1
    assert await pool.fetchval("SELECT max(n_loans) FROM loan_data.data_quality") == totals[Topic.LOAN_RECEIVED].stored


async def test_totals_show_a_message_that_was_lost(pool: Pool) -> None:
    store = LoanStore(pool, READER.fields)
    await store.store(arrive([make_loan(n) for n in range(3)]))
    await store.store(arrive([make_loan(4)], first_offset=4))
    totals = await fetch_totals(pool)
    assert (totals[Topic.LOAN_RECEIVED].received, totals[Topic.LOAN_RECEIVED].stored) == (5, 4)
    assert not totals[Topic.LOAN_RECEIVED].add_up
    assert totals[Topic.LOAN_OUTCOME].add_up


async def test_outcome_without_its_loan_is_waiting(pool: Pool) -> None:
    store = LoanStore(pool, READER.fields)
    await store.store(arrive([make_outcome(1), make_outcome(2)]))
    assert await fetch_waiting_outcomes(pool) == 2
    await store.store(arrive([make_loan(2)]))
    assert await fetch_waiting_outcomes(pool) == 1


async def test_payloads_that_differ_from_the_decided_ones_are_alerted_once_and_together(pool: Pool) -> None:
    await LoanStore(pool, READER.fields).store(arrive([make_loan(1), make_loan(2), make_loan(3)]))
    same = await pool.fetchval(
        "SELECT payload_sha256 FROM loan_data.event_keys WHERE event_id = $1", UUID(make_loan(1)["event_id"])
    )
    for number, payload in ((1, same), (2, b"another"), (3, b"another")):
        await pool.execute(
            "INSERT INTO loan_data.decision_keys (event_id, decision_id, payload_sha256) VALUES ($1, $2, $3)",
            UUID(make_loan(number)["event_id"]),
            uuid4(),
            payload,
        )
    store = ReconciliationStore(pool)

    differing = sorted(make_loan(number)["event_id"] for number in (2, 3))
    assert sorted(str(i) for i in await store.raise_differing(timedelta(days=1))) == differing
    assert await store.raise_differing(timedelta(days=1)) == []

    alerts = await pool.fetch("SELECT details, message FROM loan_data.alerts WHERE kind = 'reconciliation'")
    assert [sorted(alert["details"]["event_ids"]) for alert in alerts] == [differing]
    assert " and 1 others were stored" in alerts[0]["message"]
    assert await pool.fetchval("SELECT topic FROM loan_data.outbox") == "alert.raised"


def kinds(refusals: Any) -> list[tuple[str, int, str]]:
    return sorted((r.record.topic, r.record.offset, r.reason) for r in refusals)
