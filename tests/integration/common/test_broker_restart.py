"""The broker dies without warning in mid-stream, and comes back."""

import asyncio
import time

import pytest
from loanloop_common.errors import Unavailable
from loanloop_common.kafka import BatchConsumer, RetryPolicy, make_broker, publish_batch, stop_broker
from loanloop_common.settings import KafkaSettings

from tests.support.eventually import eventually
from tests.support.infrastructure import Backend
from tests.support.recording import RecordingHandler, numbered
from tests.support.topics import committed, make_topic, read_all


@pytest.mark.timeout(600)
async def test_killed_broker_costs_no_acknowledged_and_no_handled_record(own_infrastructure: Backend) -> None:
    settings = KafkaSettings(bootstrap_servers=own_infrastructure.kafka_bootstrap, session_timeout_ms=6000)
    topic = await make_topic(settings.bootstrap_servers, "loans")
    broker = make_broker(settings, service="test")
    await broker.connect()
    handler = RecordingHandler()
    consumer = BatchConsumer(
        broker, topic, group="readers", handle=handler, name="readers", retry=RetryPolicy(restart_after_s=0.5)
    )
    await consumer.start()
    sent = 0
    try:
        for round_number in range(30):
            await publish_batch(broker, topic, numbered(200, start=sent))
            sent += 200
            if round_number == 10:
                await own_infrastructure.kill_kafka()
                revived = asyncio.create_task(own_infrastructure.start_kafka())
        await revived
        await eventually(lambda: len(handler.values) == sent, within_s=60)
        await eventually(lambda: _is_committed(settings, topic, sent), within_s=30)
    finally:
        await consumer.stop()
        await stop_broker(broker)

    stored = [record.value for record in await read_all(settings.bootstrap_servers, topic)]
    assert sorted(stored) == sorted(value for _, value in numbered(sent))


@pytest.mark.timeout(600)
async def test_without_a_broker_publishing_gives_up_and_everything_still_stops(own_infrastructure: Backend) -> None:
    settings = KafkaSettings(
        bootstrap_servers=own_infrastructure.kafka_bootstrap, publish_within_s=2, finish_batch_within_s=2
    )
    topic = await make_topic(settings.bootstrap_servers, "loans")
    broker = make_broker(settings, service="test")
    await broker.connect()
    consumer = BatchConsumer(broker, topic, group="readers", handle=RecordingHandler(), name="readers")
    await consumer.start()
    await eventually(lambda: consumer.state == "consuming")

    await own_infrastructure.kill_kafka()

    with pytest.raises(Unavailable, match="has not acknowledged 1 messages"):
        await publish_batch(broker, topic, [(b"k", b"v")])
    with pytest.raises(Unavailable, match="does not answer"):
        await broker.renew_producer(broker.producer)
    started = time.monotonic()
    await consumer.stop()
    await stop_broker(broker, within_s=3)
    assert time.monotonic() - started < 20


async def _is_committed(settings: KafkaSettings, topic: str, n: int) -> bool:
    return await committed(settings.bootstrap_servers, "readers", topic) == n
