"""What is said of a consumer's lag, by a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from loanloop_common.kafka import BatchConsumer, Broker, RetryPolicy, lag, publish_batch
from loanloop_common.telemetry import REGISTRY

from tests.support.eventually import eventually
from tests.support.recording import RecordingHandler, numbered
from tests.support.topics import make_topic

PARTITIONS = 2


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "REPORT_EVERY_S", 0.2)


@pytest.fixture
async def topic(broker: Broker, topic_prefix: str) -> str:
    return await make_topic(broker.settings.bootstrap_servers, f"{topic_prefix}lag", partitions=PARTITIONS)


@asynccontextmanager
async def consuming(broker: Broker, topic: str, handle: RecordingHandler) -> AsyncIterator[BatchConsumer]:
    retry = RetryPolicy(attempts=100, first_delay_s=0.05, max_delay_s=0.05)
    consumer = BatchConsumer(broker, topic, group=topic, handle=handle, name=topic, retry=retry)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


def lags_of(topic: str) -> dict[str, float]:
    """By partition."""
    return {
        sample.labels["partition"]: sample.value
        for family in REGISTRY.collect()
        if family.name == "loanloop_consumer_lag_records"
        for sample in family.samples
        if (sample.labels["topic"], sample.labels["group"]) == (topic, topic)
    }


def _is_behind_by(topic: str, n: int) -> bool:
    return sum(lags_of(topic).values()) == n


async def test_lag_is_what_was_not_committed_and_none_after(broker: Broker, topic: str) -> None:
    is_failing = True
    handler = RecordingHandler(failing=lambda _: is_failing)
    await publish_batch(broker, topic, numbered(40))

    async with consuming(broker, topic, handler):
        await eventually(lambda: handler.attempts > 3)
        await eventually(lambda: sum(lags_of(topic).values()) == 40)
        assert len(lags_of(topic)) == PARTITIONS
        is_failing = False
        await eventually(lambda: lags_of(topic) == {"0": 0, "1": 0})

    assert lags_of(topic) == {}, "of what is not read here nothing is said"


async def test_lag_grows_while_a_consumer_takes_nothing(broker: Broker, topic: str) -> None:
    handler, opened = RecordingHandler(), asyncio.Event()

    async with consuming(broker, topic, handler) as consumer:
        waiting = asyncio.create_task(consumer.pause_until(opened))
        for published in (10, 20):
            await publish_batch(broker, topic, numbered(10))
            await eventually(partial(_is_behind_by, topic, published))
        opened.set()
        await waiting
        await eventually(lambda: lags_of(topic) == {"0": 0, "1": 0})


async def test_lag_begins_where_the_group_was(broker: Broker, topic: str) -> None:
    handler = RecordingHandler()
    await publish_batch(broker, topic, numbered(10))
    async with consuming(broker, topic, handler):
        await eventually(lambda: lags_of(topic) == {"0": 0, "1": 0})
    await publish_batch(broker, topic, numbered(5))

    failing = RecordingHandler(failing=lambda _: True)
    async with consuming(broker, topic, failing):
        await eventually(lambda: sum(lags_of(topic).values()) == 5)
