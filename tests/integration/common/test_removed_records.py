"""What Kafka removes before a group has read it is told, and what comes after is read."""

import pytest
from loanloop_common.kafka import BatchConsumer, Broker, RemovedRecords, RetryPolicy, publish_batch

from tests.support.eventually import eventually
from tests.support.recording import RecordingHandler, numbered
from tests.support.topics import committed, remove_records

QUICK = RetryPolicy(attempts=3, first_delay_s=0.02, restart_after_s=0.2)


@pytest.fixture
def removed(broker: Broker) -> list[RemovedRecords]:
    told: list[RemovedRecords] = []

    async def tell(removed: RemovedRecords) -> None:
        told.append(removed)

    broker.on_removed = tell
    return told


def make_consumer(broker: Broker, topic: str, handler: RecordingHandler) -> BatchConsumer:
    return BatchConsumer(broker, topic, group=topic, handle=handler, name=topic, retry=QUICK)


async def test_records_removed_while_the_consumer_was_away_are_told_and_the_next_are_read(
    broker: Broker, topic_of_one_partition: str, removed: list[RemovedRecords]
) -> None:
    topic, bootstrap = topic_of_one_partition, broker.settings.bootstrap_servers
    handler = RecordingHandler()
    first = make_consumer(broker, topic, handler)
    await publish_batch(broker, topic, numbered(10))
    await first.start()
    await eventually(lambda: _is_committed(bootstrap, topic, 10))
    await first.stop()
    await publish_batch(broker, topic, numbered(7, start=10))
    await remove_records(bootstrap, topic)
    await publish_batch(broker, topic, numbered(3, start=17))

    again = make_consumer(broker, topic, handler)
    await again.start()
    await eventually(lambda: _is_committed(bootstrap, topic, 20))
    await again.stop()

    assert removed == [RemovedRecords(topic, topic, 0, 10, 17)]
    assert [record.offset for record in handler.records] == [*range(10), *range(17, 20)]


async def test_group_without_offsets_is_told_from_where_on_it_reads_though_nothing_follows(
    broker: Broker, topic_of_one_partition: str, removed: list[RemovedRecords]
) -> None:
    topic = topic_of_one_partition
    await publish_batch(broker, topic, numbered(5))
    await remove_records(broker.settings.bootstrap_servers, topic)

    consumer = make_consumer(broker, topic, RecordingHandler())
    await consumer.start()
    await eventually(lambda: removed)
    await consumer.stop()

    assert removed == [RemovedRecords(topic, topic, 0, None, 5)]


async def test_nothing_behind_a_gap_is_read_before_the_gap_is_told(broker: Broker, topic_of_one_partition: str) -> None:
    topic = topic_of_one_partition
    handler, asked = RecordingHandler(), 0

    async def refuse_twice(removed: RemovedRecords) -> None:
        nonlocal asked
        asked += 1
        if asked <= 2:
            assert not handler.records
            raise OSError("the database is away")

    broker.on_removed = refuse_twice
    await publish_batch(broker, topic, numbered(5))
    await remove_records(broker.settings.bootstrap_servers, topic)
    await publish_batch(broker, topic, numbered(2, start=5))

    consumer = make_consumer(broker, topic, handler)
    await consumer.start()
    await eventually(lambda: len(handler.records) == 2)
    await consumer.stop()

    assert asked == 3


async def _is_committed(bootstrap: str, topic: str, n: int) -> bool:
    return await committed(bootstrap, topic, topic) == n
