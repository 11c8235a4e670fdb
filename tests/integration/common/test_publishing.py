"""Publishing on a real broker: acknowledged, in order, and clear about what is too large."""

import asyncio
import os
from datetime import UTC, datetime, timedelta

import pytest
from loanloop_common.errors import MessageTooLarge, Unavailable
from loanloop_common.events import Topic
from loanloop_common.kafka import (
    Broker,
    Message,
    arrived_at,
    create_topics,
    make_broker,
    publish_batch,
    publish_messages,
)
from loanloop_common.settings import KafkaSettings

from tests.support.eventually import eventually
from tests.support.recording import numbered
from tests.support.topics import make_topic, read_all, topic_configs


async def test_all_are_there_once_and_keys_keep_their_partition_and_order(broker: Broker, topic: str) -> None:
    messages = numbered(20_000)

    await publish_batch(broker, topic, messages)

    records = await read_all(broker.settings.bootstrap_servers, topic)
    assert sorted(record.value for record in records) == sorted(value for _, value in messages)
    assert len({record.partition for record in records}) == 4
    for key in (b"k0", b"k1"):
        mine = [record for record in records if record.key == key]
        assert len({record.partition for record in mine}) == 1
        assert [record.value for record in mine] == [value for some, value in messages if some == key]


async def test_records_of_the_products_topics_carry_the_brokers_clock(broker: Broker, topics: str) -> None:
    before = datetime.now(UTC)
    await publish_batch(broker, Topic.LOAN_RECEIVED, numbered(10))

    read_later = before + timedelta(days=400)
    arrived = [arrived_at(record, read_later) for record in await read_all(topics, Topic.LOAN_RECEIVED)]

    assert min(arrived) > before - timedelta(seconds=1)
    assert max(arrived) < before + timedelta(minutes=1)


async def test_message_of_900_kilobytes_passes_unharmed(broker: Broker, topic: str) -> None:
    large = os.urandom(900_000)

    await publish_messages(broker, topic, [Message(b"a", b"small"), Message(b"b", large), Message(b"c", b"small")])

    records = await read_all(broker.settings.bootstrap_servers, topic)
    assert sorted(len(record.value) for record in records) == [5, 5, 900_000]
    assert large in {record.value for record in records}


async def test_message_over_the_limit_is_refused_with_size_and_limit_and_nothing_is_sent(
    broker: Broker, topic: str
) -> None:
    with pytest.raises(MessageTooLarge, match=r"1,100,\d\d\d bytes for .* limit of 1,048,588 bytes") as refused:
        await publish_batch(broker, topic, [(b"a", b"small"), (b"b", bytes(1_100_000))])

    assert refused.value.limit == broker.settings.max_message_bytes
    assert await read_all(broker.settings.bootstrap_servers, topic) == []


async def test_after_the_brokers_own_refusal_the_same_partition_takes_messages_again(
    broker: Broker, topic_prefix: str
) -> None:
    bootstrap = broker.settings.bootstrap_servers
    narrow = {"max.message.bytes": "20000"}
    topic = await make_topic(bootstrap, f"{topic_prefix}narrow", partitions=1, configs=narrow)
    await publish_batch(broker, topic, [(b"k", b"before")])

    with pytest.raises(MessageTooLarge, match="over the broker's limit"):
        await publish_batch(broker, topic, [(b"k", os.urandom(30_000))])
    await publish_batch(broker, topic, [(b"k", b"after")])

    assert [record.value for record in await read_all(bootstrap, topic)] == [b"before", b"after"]


async def test_many_publishing_at_once_lose_nothing(broker: Broker, topic: str) -> None:
    await asyncio.gather(*(publish_batch(broker, topic, numbered(500, start=n * 500)) for n in range(20)))

    records = await read_all(broker.settings.bootstrap_servers, topic)
    assert {record.value for record in records} == {value for _, value in numbered(10_000)}
    assert len(records) == 10_000


async def test_connecting_to_nobody_says_where_it_tried() -> None:
    broker = make_broker(KafkaSettings(bootstrap_servers="127.0.0.1:1"), service="test")

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await broker.connect()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        await create_topics("127.0.0.1:1")


async def test_topics_are_made_once_and_kept_as_they_should_be(topics: str) -> None:
    assert await create_topics(topics) == []

    deployed = await eventually(lambda: topic_configs(topics, Topic.MODEL_DEPLOYED))
    received = await eventually(lambda: topic_configs(topics, Topic.LOAN_RECEIVED))
    assert deployed["cleanup.policy"] == "compact"
    assert received["cleanup.policy"] == "delete"
    assert received["message.timestamp.type"] == deployed["message.timestamp.type"] == "LogAppendTime"
    assert await read_all(topics, Topic.LOAN_RECEIVED.dead_letters) == []


async def test_history_under_old_timestamps_is_not_deleted_by_retention(topics: str, broker: Broker) -> None:
    sent = await broker.producer.send(Topic.LOAN_RECEIVED, b"2005", key=b"k", timestamp_ms=1_116_547_200_000)
    await sent

    (record,) = await read_all(topics, Topic.LOAN_RECEIVED)
    assert record.timestamp > 1_700_000_000_000
