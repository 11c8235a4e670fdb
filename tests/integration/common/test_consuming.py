"""At least once on a real broker: what is committed was handled, what was handled ends committed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.errors import GroupAuthorizationFailedError
from loanloop_common.kafka import (
    BatchConsumer,
    Broker,
    Message,
    RetryPolicy,
    make_broker,
    publish_batch,
    publish_messages,
    stop_broker,
)
from loanloop_common.settings import KafkaSettings

from tests.support.eventually import eventually
from tests.support.recording import RecordingHandler, numbered
from tests.support.topics import committed, make_topic

QUICK = RetryPolicy(attempts=3, first_delay_s=0.02, restart_after_s=0.2)


@asynccontextmanager
async def consuming(
    broker: Broker, *topics: str, handle: RecordingHandler, group: str, max_records: int = 1000
) -> AsyncIterator[BatchConsumer]:
    consumer = BatchConsumer(
        broker, *topics, group=group, handle=handle, name=group, retry=QUICK, max_records=max_records
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        handle.gate.set()
        await consumer.stop()


async def test_batch_that_fails_twice_is_handled_once_and_committed(broker: Broker, topic: str) -> None:
    failures = iter([True, True])
    handler = RecordingHandler(failing=lambda _: next(failures, False))
    await publish_batch(broker, topic, numbered(20))

    async with consuming(broker, topic, handle=handler, group=topic):
        await eventually(lambda: len(handler.records) >= 20)
        await eventually(lambda: _is_committed(broker, topic, 20))

    assert handler.values == dict.fromkeys((value for _, value in numbered(20)), 1)
    assert handler.attempts >= 3


async def test_batch_that_always_fails_is_never_committed_and_comes_again_after_a_restart(
    broker: Broker, topic: str
) -> None:
    handler = RecordingHandler(failing=lambda _: True)
    await publish_batch(broker, topic, numbered(10))

    async with consuming(broker, topic, handle=handler, group=topic) as consumer:
        await eventually(lambda: handler.attempts >= 2 * QUICK.attempts)
        assert await committed(broker.settings.bootstrap_servers, topic, topic) == 0
        handler.failing = lambda _: False
        await eventually(lambda: _is_committed(broker, topic, 10))
        assert consumer.state == "consuming"

    assert set(handler.values) == {value for _, value in numbered(10)}


async def test_nothing_after_a_failing_batch_is_handled_before_it(broker: Broker, topic_of_one_partition: str) -> None:
    topic = topic_of_one_partition
    handler = RecordingHandler(failing=lambda records: any(record.value == b"v3" for record in records))
    await publish_batch(broker, topic, numbered(10))

    async with consuming(broker, topic, handle=handler, group=topic, max_records=1):
        await eventually(lambda: handler.attempts >= 3 + 2 * QUICK.attempts)
        assert [record.value for record in handler.records] == [b"v0", b"v1", b"v2"]
        assert await committed(broker.settings.bootstrap_servers, topic, topic) == 3
        handler.failing = lambda _: False
        await eventually(lambda: _is_committed(broker, topic, 10))

    assert [record.value for record in handler.records] == [value for _, value in numbered(10)]


async def test_failing_consumer_leaves_the_others_alone(broker: Broker, topic: str) -> None:
    failing, well = RecordingHandler(failing=lambda _: True), RecordingHandler()
    async with (
        consuming(broker, topic, handle=failing, group=f"{topic}-failing"),
        consuming(broker, topic, handle=well, group=f"{topic}-well"),
    ):
        for start in (0, 100, 200):
            await publish_batch(broker, topic, numbered(100, start=start))
        await eventually(lambda: len(well.records) == 300)
        await eventually(lambda: failing.attempts > QUICK.attempts)

    assert max(well.values.values()) == 1


async def test_consumer_whose_fetching_fails_is_replaced(broker: Broker, topic: str) -> None:
    handler = RecordingHandler()
    async with consuming(broker, topic, handle=handler, group=topic) as consumer:
        await publish_batch(broker, topic, numbered(10))
        await eventually(lambda: _is_committed(broker, topic, 10))
        first = consumer._subscriber.consumer
        first._coordinator._pending_exception = GroupAuthorizationFailedError(topic)

        await eventually(lambda: consumer._subscriber.consumer not in (None, first))
        await publish_batch(broker, topic, numbered(10, start=10))
        await eventually(lambda: _is_committed(broker, topic, 20))

    assert handler.values == dict.fromkeys((value for _, value in numbered(20)), 1)


async def test_one_batch_spans_topics_and_partitions(broker: Broker, topic: str, kafka_settings: KafkaSettings) -> None:
    other = await make_topic(kafka_settings.bootstrap_servers, f"{topic}-other")
    await publish_batch(broker, topic, numbered(100))
    await publish_batch(broker, other, numbered(100, start=100))
    handler = RecordingHandler()

    async with consuming(broker, topic, other, handle=handler, group=topic):
        await eventually(lambda: len(handler.records) == 200)
        await eventually(lambda: _is_committed(broker, topic, 100))
        assert await committed(kafka_settings.bootstrap_servers, topic, other) == 100


async def test_key_order_is_kept(broker: Broker, topic: str) -> None:
    handler = RecordingHandler()
    messages = [(f"k{number % 7}".encode(), b"%d" % number) for number in range(5000)]

    async with consuming(broker, topic, handle=handler, group=topic):
        await publish_batch(broker, topic, messages)
        await eventually(lambda: len(handler.records) == 5000)

    for key in {key for key, _ in messages}:
        seen = [int(record.value) for record in handler.records if record.key == key]
        assert seen == sorted(seen)


async def test_header_that_is_no_text_loses_nothing(broker: Broker, topic: str) -> None:
    handler = RecordingHandler()
    await publish_messages(broker, topic, [Message(b"k", b"v0", [("trace", b"\xff\xfe")]), Message(None, b"v1")])

    async with consuming(broker, topic, handle=handler, group=topic):
        await eventually(lambda: set(handler.values) == {b"v0", b"v1"})


async def test_rebalance_between_two_members_loses_nothing(
    broker: Broker, topic: str, kafka_settings: KafkaSettings
) -> None:
    first, second = RecordingHandler(), RecordingHandler()
    other = make_broker(kafka_settings, service="other")
    await other.connect()
    sent = 0
    try:
        async with consuming(broker, topic, handle=first, group=topic, max_records=50):
            for _ in range(5):
                await publish_batch(broker, topic, numbered(200, start=sent))
                sent += 200
            async with consuming(other, topic, handle=second, group=topic, max_records=50):
                while not second.records:
                    await publish_batch(broker, topic, numbered(200, start=sent))
                    sent += 200
            await publish_batch(broker, topic, numbered(200, start=sent))
            sent += 200
            await eventually(lambda: _is_committed(broker, topic, sent))
    finally:
        await stop_broker(other)

    assert set(first.values) | set(second.values) == {value for _, value in numbered(sent)}


async def test_commit_after_a_rebalance_in_mid_batch_is_harmless(
    broker: Broker, topic: str, kafka_settings: KafkaSettings
) -> None:
    first, second = RecordingHandler(), RecordingHandler()
    first.gate.clear()
    other = make_broker(kafka_settings, service="other")
    await other.connect()
    await publish_batch(broker, topic, numbered(100))
    try:
        async with consuming(broker, topic, handle=first, group=topic):
            await eventually(lambda: first.attempts == 1)
            async with consuming(other, topic, handle=second, group=topic) as member:
                await eventually(lambda: member.state == "consuming")
                first.gate.set()
                await eventually(lambda: _is_committed(broker, topic, 100))
    finally:
        await stop_broker(other)

    assert set(first.values) | set(second.values) == {value for _, value in numbered(100)}


async def test_stop_lets_the_batch_in_hand_finish_and_commits_it(broker: Broker, topic: str) -> None:
    handler = RecordingHandler()
    handler.gate.clear()
    await publish_batch(broker, topic, numbered(10))

    async with consuming(broker, topic, handle=handler, group=topic) as consumer:
        await eventually(lambda: handler.attempts == 1)
        stopping = asyncio.create_task(consumer.stop())
        await asyncio.sleep(0)
        handler.gate.set()
        await stopping

    assert await committed(broker.settings.bootstrap_servers, topic, topic) == len(handler.records) > 0


async def test_stop_gives_up_on_a_batch_that_does_not_end_and_commits_nothing(broker: Broker, topic: str) -> None:
    handler = RecordingHandler()
    handler.gate.clear()
    await publish_batch(broker, topic, numbered(10))

    async with consuming(broker, topic, handle=handler, group=topic) as consumer:
        await eventually(lambda: handler.attempts == 1)
        async with asyncio.timeout(broker.settings.finish_batch_within_s + 8):
            await consumer.stop()

    assert handler.records == []
    assert await committed(broker.settings.bootstrap_servers, topic, topic) == 0


async def test_paused_consumer_stays_in_its_group_and_takes_nothing_until_the_event(broker: Broker, topic: str) -> None:
    handler, ready = RecordingHandler(), asyncio.Event()

    async with consuming(broker, topic, handle=handler, group=topic) as consumer:
        waiting = asyncio.create_task(consumer.pause_until(ready))
        await eventually(lambda: consumer.state == "waiting")
        await publish_batch(broker, topic, numbered(30))
        await asyncio.sleep(1)
        assert handler.attempts == 0
        ready.set()
        await waiting
        await eventually(lambda: len(handler.records) == 30)

    assert max(handler.values.values()) == 1


async def test_paused_while_records_are_waiting_takes_them_later(broker: Broker, topic: str) -> None:
    handler, ready = RecordingHandler(), asyncio.Event()
    await publish_batch(broker, topic, numbered(300))
    consumer = BatchConsumer(broker, topic, group=topic, handle=handler, name="late", max_records=10)
    waiting = asyncio.create_task(consumer.pause_until(ready))
    await asyncio.sleep(0)

    await consumer.start()
    try:
        await eventually(lambda: consumer.state == "waiting")
        await asyncio.sleep(1)
        assert handler.attempts == 0
        ready.set()
        await waiting
        await eventually(lambda: _is_committed(broker, topic, 300))
    finally:
        await consumer.stop()

    assert set(handler.values) == {value for _, value in numbered(300)}


async def test_broadcast_reaches_every_replica_from_the_beginning(broker: Broker, topic: str) -> None:
    await publish_batch(broker, topic, numbered(5))
    replicas = [RecordingHandler(), RecordingHandler()]
    consumers = [
        BatchConsumer(broker, topic, group=None, handle=replica, name=f"replica-{n}", broadcast=True)
        for n, replica in enumerate(replicas)
    ]

    for consumer in consumers:
        await consumer.start()
    try:
        await eventually(lambda: all(len(replica.records) == 5 for replica in replicas))
        await publish_batch(broker, topic, numbered(1, start=5))
        await eventually(lambda: all(len(replica.records) == 6 for replica in replicas))
    finally:
        for consumer in consumers:
            await consumer.stop()


def test_consumer_without_group_that_is_no_broadcast_is_refused(kafka_settings: KafkaSettings) -> None:
    with pytest.raises(ValueError, match="has no group"):
        BatchConsumer(
            make_broker(kafka_settings, service="test"), "t", group=None, handle=RecordingHandler(), name="careless"
        )


async def _is_committed(broker: Broker, topic: str, n: int) -> bool:
    return await committed(broker.settings.bootstrap_servers, topic, topic) == n


@pytest.mark.parametrize("task", ["fetching", "coordination"])
async def test_consumer_whose_background_task_has_ended_starts_again(broker: Broker, topic: str, task: str) -> None:
    handler = RecordingHandler()
    await publish_batch(broker, topic, numbered(5))

    async with consuming(broker, topic, handle=handler, group=topic) as consumer:
        await eventually(lambda: _is_committed(broker, topic, 5))
        library = consumer._subscriber.consumer
        ended = library._fetcher._fetch_task if task == "fetching" else library._coordinator._coordination_task
        ended.cancel()
        await asyncio.wait({ended})
        await asyncio.sleep(1.5)  # what was asked of the broker before still comes
        await publish_batch(broker, topic, numbered(10)[5:])
        await eventually(lambda: _is_committed(broker, topic, 10))

    assert handler.values == dict.fromkeys((value for _, value in numbered(10)), 1)
