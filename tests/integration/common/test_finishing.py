"""What a handler leaves to be finished runs beside the next batch, in order, and is committed behind it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import ConsumerRecord
from loanloop_common.kafka import BatchConsumer, Broker, Finish, RetryPolicy, publish_batch

from tests.support.eventually import eventually
from tests.support.recording import RecordingHandler, numbered
from tests.support.topics import committed

QUICK = RetryPolicy(attempts=3, first_delay_s=0.02, restart_after_s=0.2)


class TwoSteps:
    """Takes each batch at once; what finishes it is a RecordingHandler."""

    def __init__(self) -> None:
        self.taken: list[ConsumerRecord] = []
        self.finish = RecordingHandler()

    async def __call__(self, records: Sequence[ConsumerRecord]) -> Finish:
        self.taken.extend(records)

        async def finish() -> None:
            await self.finish(records)

        return finish


@asynccontextmanager
async def consuming(
    broker: Broker, topic: str, handler: TwoSteps, retry: RetryPolicy = QUICK
) -> AsyncIterator[BatchConsumer]:
    consumer = BatchConsumer(broker, topic, group=topic, handle=handler, name=topic, retry=retry, max_records=10)
    await consumer.start()
    try:
        yield consumer
    finally:
        handler.finish.gate.set()
        await consumer.stop()


async def test_next_batch_is_taken_while_one_is_finished_and_no_further_one(
    broker: Broker, topic_of_one_partition: str
) -> None:
    topic, handler = topic_of_one_partition, TwoSteps()
    handler.finish.gate.clear()
    await publish_batch(broker, topic, numbered(50))

    async with consuming(broker, topic, handler):
        await eventually(lambda: len(handler.taken) == 20)
        await asyncio.sleep(0.5)  # to see that nothing happens
        assert len(handler.taken) == 20
        assert not handler.finish.records
        assert await committed(broker.settings.bootstrap_servers, topic, topic) == 0
        handler.finish.gate.set()
        await eventually(lambda: _is_committed(broker, topic, 50))

    assert [record.value for record in handler.finish.records] == [value for _, value in numbered(50)]


async def test_nothing_behind_a_batch_that_cannot_be_finished_is_finished_before_it(
    broker: Broker, topic_of_one_partition: str
) -> None:
    topic, handler = topic_of_one_partition, TwoSteps()
    handler.finish.failing = lambda records: any(record.value == b"v15" for record in records)
    await publish_batch(broker, topic, numbered(50))

    async with consuming(broker, topic, handler):
        await eventually(lambda: handler.finish.attempts >= 1 + 2 * QUICK.attempts)
        assert [record.value for record in handler.finish.records] == [value for _, value in numbered(10)]
        assert await committed(broker.settings.bootstrap_servers, topic, topic) == 10
        handler.finish.failing = lambda _: False
        await eventually(lambda: _is_committed(broker, topic, 50))

    assert [record.value for record in handler.finish.records] == [value for _, value in numbered(50)]


async def test_a_batch_that_is_handled_does_not_hide_that_finishing_the_one_before_it_fails(
    broker: Broker, topic_of_one_partition: str
) -> None:
    topic, handler = topic_of_one_partition, TwoSteps()
    handler.finish.failing = lambda _: True
    await publish_batch(broker, topic, numbered(20))

    async with consuming(broker, topic, handler, RetryPolicy(attempts=50, first_delay_s=0.1)) as consumer:
        await eventually(lambda: len(handler.taken) == 20)
        await eventually(lambda: consumer.state == "retrying")
        handler.finish.failing = lambda _: False
        await eventually(lambda: consumer.state == "consuming")


async def test_stop_lets_what_is_being_finished_end_and_commits_it(broker: Broker, topic_of_one_partition: str) -> None:
    topic, handler = topic_of_one_partition, TwoSteps()
    handler.finish.gate.clear()
    await publish_batch(broker, topic, numbered(50))

    async with consuming(broker, topic, handler) as consumer:
        await eventually(lambda: len(handler.taken) == 20)
        stopping = asyncio.create_task(consumer.stop())
        await asyncio.sleep(0.2)  # it waits for the batch
        assert not stopping.done()
        handler.finish.gate.set()
        await stopping

    assert len(handler.finish.records) == 20
    assert await committed(broker.settings.bootstrap_servers, topic, topic) == 20


async def test_nothing_is_committed_behind_a_batch_that_was_cut_off_while_it_was_finished(
    broker: Broker, topic_of_one_partition: str
) -> None:
    topic, handler = topic_of_one_partition, TwoSteps()
    handler.finish.gate.clear()
    second_may_go_on = asyncio.Event()
    await publish_batch(broker, topic, numbered(20))

    async def handle(records: Sequence[ConsumerRecord]) -> Finish:
        if handler.taken:
            await second_may_go_on.wait()
        return await handler(records)

    consumer = BatchConsumer(broker, topic, group=topic, handle=handle, name=topic, retry=QUICK, max_records=10)
    await consumer.start()
    await eventually(lambda: handler.finish.attempts == 1)
    await consumer._handling.finish_within(0.1)
    handler.finish.gate.set()
    second_may_go_on.set()
    await consumer.stop()

    assert await committed(broker.settings.bootstrap_servers, topic, topic) == 0
    assert not handler.finish.records


async def _is_committed(broker: Broker, topic: str, n: int) -> bool:
    return await committed(broker.settings.bootstrap_servers, topic, topic) == n
