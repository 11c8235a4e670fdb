"""The outbox on a real broker and database: an event leaves if and only if its transaction commits."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from loanloop_common.event_codec import decode_event
from loanloop_common.events import AlertRaised, Topic
from loanloop_common.kafka import Broker
from loanloop_common.outbox import OutboxRelay, enqueue, enqueue_many
from loanloop_common.postgres import Pool, create_pool
from pydantic import AwareDatetime, TypeAdapter

from tests.support.eventually import eventually
from tests.support.topics import read_all

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MOMENT = TypeAdapter(AwareDatetime).validate_python("2008-06-18T00:00:00Z")


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test")
    yield pool
    await pool.close()


@pytest.fixture
def relay(pool: Pool, topics: str, broker: Broker) -> OutboxRelay:
    assert topics == broker.settings.bootstrap_servers
    return OutboxRelay(pool, broker, service="test", poll_s=0.1)


async def test_event_enqueued_before_a_crash_is_published_after_it(pool: Pool, relay: OutboxRelay, topics: str) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await enqueue(connection, service="test", topic=Topic.ALERT_RAISED, key="data_quality", event=_alert(1))
    assert await read_all(topics, Topic.ALERT_RAISED) == []

    await relay.start()
    try:
        await eventually(lambda: _is_empty(pool))
    finally:
        await relay.stop()

    (record,) = await read_all(topics, Topic.ALERT_RAISED)
    assert (record.key, record.headers) == (b"data_quality", ())
    assert decode_event(AlertRaised, record.value).event_id == UUID(int=1)


async def test_event_of_a_transaction_that_rolls_back_is_never_published(
    pool: Pool, relay: OutboxRelay, topics: str
) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await enqueue(connection, service="test", topic=Topic.ALERT_RAISED, key="data_quality", event=_alert(1))
        await transaction.rollback()
    await relay.start()
    await relay.stop()

    assert await read_all(topics, Topic.ALERT_RAISED) == []


async def test_wake_publishes_at_once_and_in_order(pool: Pool, topics: str, broker: Broker) -> None:
    relay = OutboxRelay(pool, broker, service="test", poll_s=3600)
    await relay.start()
    try:
        await _enqueue_numbers(pool, 2500)
        relay.wake()
        await eventually(lambda: _is_empty(pool))
    finally:
        await relay.stop()

    records = await read_all(topics, Topic.ALERT_RAISED)
    assert [int(record.value) for record in records] == list(range(2500))


async def test_another_services_rows_are_left_to_it(pool: Pool, relay: OutboxRelay, topics: str) -> None:
    async with pool.acquire() as connection:
        await enqueue_many(connection, service="other", rows=[(Topic.ALERT_RAISED, "k", b"0")])
    await relay.start()
    await relay.stop()

    assert await read_all(topics, Topic.ALERT_RAISED) == []
    assert not await _is_empty(pool)


async def test_two_relays_of_one_service_publish_each_row_once(pool: Pool, topics: str, broker: Broker) -> None:
    relays = [OutboxRelay(pool, broker, service="test", poll_s=0.01) for _ in range(2)]
    await asyncio.gather(*(relay.start() for relay in relays))
    try:
        for start in range(0, 1000, 100):
            await _enqueue_numbers(pool, 100, start=start)
        await eventually(lambda: _is_empty(pool))
    finally:
        await asyncio.gather(*(relay.stop() for relay in relays))

    records = await read_all(topics, Topic.ALERT_RAISED)
    assert [int(record.value) for record in records] == list(range(1000))


async def test_event_too_large_for_the_broker_ends_as_dead_letter_and_alert_and_holds_up_no_other(
    pool: Pool, relay: OutboxRelay, topics: str
) -> None:
    rows = [
        (Topic.ALERT_RAISED, "k", b"0"),
        (Topic.ALERT_RAISED, "k", bytes(1_100_000)),
        (Topic.LOAN_SCORED, "k", b"1"),
    ]
    async with pool.acquire() as connection:
        await enqueue_many(connection, service="test", rows=rows, traceparent=TRACEPARENT)
    await relay.start()
    await relay.stop()

    published, alert = await read_all(topics, Topic.ALERT_RAISED)
    assert published.value == b"0"
    assert [record.value for record in await read_all(topics, Topic.LOAN_SCORED)] == [b"1"]
    assert await _is_empty(pool)
    (letter,) = await pool.fetch("SELECT * FROM loan_data.rejected")
    assert letter["traceparent"] == TRACEPARENT
    assert published.headers == (("traceparent", TRACEPARENT.encode()),)
    assert (letter["service"], letter["topic"], letter["reason"]) == ("test", "outbox:alert.raised", "too_large")
    assert (letter["payload"], letter["message_key"]) == (bytes(1_100_000), b"k")
    raised = decode_event(AlertRaised, alert.value)
    assert (raised.kind, raised.service, raised.severity) == ("event_too_large", "test", "critical")
    assert f"outbox:alert.raised:0:{letter['kafka_offset']}" in raised.message


async def test_many_events_too_large_leave_room_for_the_next(pool: Pool, relay: OutboxRelay, topics: str) -> None:
    too_large = [(Topic.LOAN_SCORED, "k", bytes(1_100_000))] * 20
    async with pool.acquire() as connection:
        await enqueue_many(connection, service="test", rows=[*too_large, (Topic.LOAN_SCORED, "k", b"1")])
    await relay.start()
    await relay.stop()

    assert [record.value for record in await read_all(topics, Topic.LOAN_SCORED)] == [b"1"]
    assert await pool.fetchval("SELECT count(*) FROM loan_data.rejected") == 20


def _alert(number: int) -> AlertRaised:
    return AlertRaised(
        event_id=UUID(int=number),
        occurred_at=MOMENT,
        kind="data_quality",
        service="test",
        severity="info",
        message="a test",
    )


async def _enqueue_numbers(pool: Pool, n: int, *, start: int = 0) -> None:
    rows = [(Topic.ALERT_RAISED, "k", b"%d" % number) for number in range(start, start + n)]
    async with pool.acquire() as connection, connection.transaction():
        await enqueue_many(connection, service="test", rows=rows)


async def _is_empty(pool: Pool) -> bool:
    return not await pool.fetchval("SELECT EXISTS (SELECT FROM loan_data.outbox)")
