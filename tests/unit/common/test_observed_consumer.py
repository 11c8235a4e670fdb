"""After an error nothing is handed over: aiokafka has dropped what it had taken, and its positions have moved on."""

from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult, MemoryRecords, PartitionRecords
from aiokafka.consumer.group_coordinator import NoGroupCoordinator
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException
from loanloop_common.kafka.broker import BYTES_AT_ONCE, RECORDS_AT_ONCE, ObservedConsumer
from loanloop_common.kafka.fetched import Room
from loanloop_common.kafka.removed import log_removed

from tests.support.odd_batches import batch_of, corrupt

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


@pytest.fixture
async def consumer() -> AsyncIterator[ObservedConsumer]:
    """Has no broker; aiokafka's own fetcher hands over what the test puts there as fetched."""
    consumer = ObservedConsumer(on_removed=log_removed, room=Room(1_000_000, 1_000_000))
    consumer.assign([FIRST, SECOND])
    consumer._fetcher = Fetcher(consumer._client, consumer._subscription)
    consumer._coordinator = NoGroupCoordinator(consumer._client, consumer._subscription)
    for partition in (FIRST, SECOND):
        consumer.seek(partition, 0)
    yield consumer
    await consumer.stop()


def fetched(consumer: ObservedConsumer, partition: TopicPartition, offset: int, data: bytes) -> None:
    records = PartitionRecords(partition, MemoryRecords(data), None, offset, None, None, True, 0)
    assignment = consumer._subscription.subscription.assignment
    consumer._fetcher._records[partition] = FetchResult(
        partition, assignment=assignment, partition_records=records, backoff=0
    )


async def test_nothing_behind_what_an_error_dropped_is_handed_over(consumer: ObservedConsumer) -> None:
    fetched(consumer, FIRST, 0, batch_of([(b"k", b"dropped", [])]))
    fetched(consumer, SECOND, 0, corrupt(batch_of([(b"k", b"v", [])])))
    with pytest.raises(CorruptRecordException):
        await consumer.getmany()
    assert await consumer.position(FIRST) == 1  # of which nothing was handed over

    fetched(consumer, FIRST, 1, batch_of([(b"k", b"behind", [])], base_offset=1))
    with pytest.raises(ConsumerStoppedError):
        await consumer.getmany()


async def test_what_was_fetched_is_handed_over_where_nothing_fails(consumer: ObservedConsumer) -> None:
    fetched(consumer, FIRST, 0, batch_of([(b"k", b"v0", [])]))
    fetched(consumer, SECOND, 0, batch_of([(b"k", b"v1", [])]))

    handed = await consumer.getmany()

    assert {partition: [record.value for record in records] for partition, records in handed.items()} == {
        FIRST: [b"v0"],
        SECOND: [b"v1"],
    }


def many(consumer: ObservedConsumer, partition: TopicPartition, n: int, value: bytes = b"v") -> None:
    fetched(consumer, partition, 0, batch_of([(b"k", value, [])] * n))


async def test_as_many_as_asked_for_are_handed_over_at_once_of_all_partitions(consumer: ObservedConsumer) -> None:
    many(consumer, FIRST, 2 * RECORDS_AT_ONCE + 10)
    many(consumer, SECOND, 2 * RECORDS_AT_ONCE)

    handed = await consumer.getmany(max_records=3 * RECORDS_AT_ONCE)

    assert [len(handed[partition]) for partition in (FIRST, SECOND)] == [2 * RECORDS_AT_ONCE + 10, RECORDS_AT_ONCE - 10]
    assert [record.offset for record in handed[FIRST]] == list(range(2 * RECORDS_AT_ONCE + 10))
    assert len((await consumer.getmany())[SECOND]) == RECORDS_AT_ONCE + 10


async def test_large_records_are_handed_over_a_few_at_a_time_and_none_is_left_out(consumer: ObservedConsumer) -> None:
    many(consumer, FIRST, RECORDS_AT_ONCE + 20, bytes(BYTES_AT_ONCE // RECORDS_AT_ONCE))

    first, second = (await consumer.getmany())[FIRST], (await consumer.getmany())[FIRST]

    assert (len(first), len(second)) == (RECORDS_AT_ONCE, 20)
    assert [record.offset for record in (*first, *second)] == list(range(RECORDS_AT_ONCE + 20))


async def test_an_error_behind_what_was_taken_is_raised_once_that_is_handed_over(consumer: ObservedConsumer) -> None:
    many(consumer, FIRST, RECORDS_AT_ONCE)
    fetched(consumer, SECOND, 0, corrupt(batch_of([(b"k", b"v", [])])))

    handed = await consumer.getmany()

    assert {partition: len(records) for partition, records in handed.items()} == {FIRST: RECORDS_AT_ONCE}
    with pytest.raises(CorruptRecordException):
        await consumer.getmany()
    with pytest.raises(ConsumerStoppedError):
        await consumer.getmany()
