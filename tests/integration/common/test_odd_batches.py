"""Batches that other clients can send and aiokafka can't read, on a real broker: no partition stands still for one."""

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka import ConsumerRecord
from aiokafka.record.memory_records import MemoryRecords
from loanloop_common.events import Topic
from loanloop_common.kafka import (
    BatchConsumer,
    Broker,
    Finish,
    RetryPolicy,
    fetched,
    make_broker,
    publish_batch,
    stop_broker,
)
from loanloop_common.kafka.broker import MAX_UNPACKED_BYTES_PER_BYTE
from loanloop_common.kafka.handling import Handle
from loanloop_common.postgres import create_pool
from loanloop_common.settings import KafkaSettings

from tests.integration.ingest.world import World, headers_of
from tests.support.eventually import eventually
from tests.support.infrastructure import Backend
from tests.support.loans import as_bytes, make_loan
from tests.support.odd_batches import ODD_NAME, READ_AS, batch_of, compressed, no_text, send
from tests.support.recording import RecordingHandler, numbered
from tests.support.topics import committed, make_topic

QUICK = RetryPolicy(attempts=3, first_delay_s=0.02, restart_after_s=0.2)
ODD = no_text(batch_of([(b"k", b"odd%d" % n, [(ODD_NAME, b"x")]) for n in range(3)]))
TOO_LARGE = compressed(batch_of([(b"k", bytes(MAX_UNPACKED_BYTES_PER_BYTE * KafkaSettings().max_message_bytes), [])]))


def consumer_of(broker: Broker, topic: str, handler: RecordingHandler) -> BatchConsumer:
    return BatchConsumer(broker, topic, group=topic, handle=handler, name=topic, retry=QUICK)


@pytest.mark.parametrize("batch", [ODD, compressed(ODD)], ids=["plain", "zstd"])
async def test_such_a_record_is_handled_once_as_any_other(broker: Broker, topic_prefix: str, batch: bytes) -> None:
    bootstrap = broker.settings.bootstrap_servers
    topic, handler = await make_topic(bootstrap, f"{topic_prefix}two", partitions=2), RecordingHandler()
    await publish_batch(broker, topic, numbered(20))
    await send(bootstrap, topic, 1, batch)
    consumer = consumer_of(broker, topic, handler)
    await consumer.start()
    for start in range(20, 200, 20):
        await publish_batch(broker, topic, numbered(20, start=start))
    await eventually(lambda: _is_committed(bootstrap, topic, 203))
    await consumer.stop()

    values = [value for _, value in numbered(200)] + [b"odd0", b"odd1", b"odd2"]
    assert handler.values == dict.fromkeys(values, 1)
    assert {record.headers for record in handler.records if record.value.startswith(b"odd")} == {((READ_AS, b"x"),)}


async def test_nothing_behind_what_an_error_dropped_is_handled_before_it(
    broker: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody reads such names, they stand for whatever error aiokafka meets in what it has fetched."""
    monkeypatch.setattr(fetched, "FetchedRecords", lambda data, room: MemoryRecords(data))
    bootstrap = broker.settings.bootstrap_servers
    topic = await make_topic(bootstrap, f"{topic_prefix}two", partitions=2)
    handler, may_finish = RecordingHandler(), asyncio.Semaphore(0)
    consumer = BatchConsumer(
        broker, topic, group=topic, handle=_finished_later(handler, may_finish), name=topic, retry=QUICK
    )
    await consumer.start()
    for n in range(2):
        await send(bootstrap, topic, 0, _one(n))
        await eventually(lambda: len(handler.records) == n + 1)  # noqa: B023  # awaited here
    library = consumer._subscriber.consumer
    # The second batch waits for the first: what follows is fetched meanwhile, and taken at once.
    await send(bootstrap, topic, 0, _one(2))
    await eventually(lambda: len(library._fetcher._records) == 1)
    await send(bootstrap, topic, 1, ODD)
    await eventually(lambda: len(library._fetcher._records) == 2)
    may_finish.release()
    await library.fetching_failed.wait()
    await send(bootstrap, topic, 0, _one(3))
    await asyncio.sleep(1)  # the membership ends with the second batch: time enough to be handed the next
    assert len(handler.records) == 2
    monkeypatch.undo()
    for _ in range(10):
        may_finish.release()
    await eventually(lambda: _is_committed(bootstrap, topic, 4 + 3))
    await consumer.stop()

    assert handler.values == dict.fromkeys([b"0", b"1", b"2", b"3", b"odd0", b"odd1", b"odd2"], 1)


def _one(n: int) -> bytes:
    return batch_of([(b"k", b"%d" % n, [])])


def _finished_later(handler: RecordingHandler, may_finish: asyncio.Semaphore) -> Handle:
    async def handle(records: Sequence[ConsumerRecord]) -> Finish:
        await handler(records)

        async def finish() -> None:
            await may_finish.acquire()

        return finish

    return handle


async def test_loan_with_such_a_name_is_stored_and_what_is_bad_is_a_dead_letter(
    infrastructure: Backend, database: str, topics: str
) -> None:
    pool = await create_pool(database, application_name="test")
    broker = make_broker(KafkaSettings(bootstrap_servers=topics), service="test")
    await broker.connect()
    try:
        world = World(infrastructure, database, pool, broker)
        values = [as_bytes(make_loan(500)), b"not json", as_bytes(make_loan(501))]
        await world.produce(make_loan(n) for n in range(10))
        odd = no_text(batch_of([(b"k", value, [(ODD_NAME, b"x")]) for value in values]))
        await send(topics, Topic.LOAN_RECEIVED, 1, odd)
        await send(topics, Topic.LOAN_RECEIVED, 1, TOO_LARGE)
        await world.produce(make_loan(n) for n in range(10, 20))

        await world.start_ingest()
        totals = await world.consumed(24)
        letters = {letter.value: headers_of(letter)["reason"] for letter in await world.dead_letters()}
    finally:
        await infrastructure.stop_services()
        await stop_broker(broker)
        await pool.close()

    assert (totals.stored, totals.rejected, totals.duplicates) == (22, 2, 0)
    assert letters[b"not json"] == "invalid_message"
    (unread,) = (value for value in letters if value != b"not json")
    said, _, batch = unread.partition(b"\n")
    assert batch[61:] == TOO_LARGE[61:]  # the broker sets the offset
    assert said.startswith(b"not read: a batch of 1 records, which unpacks to more than 33,554,816 bytes")
    assert letters[unread] == "not_read"


async def _is_committed(bootstrap: str, topic: str, n: int) -> bool:
    return await committed(bootstrap, topic, topic) == n
