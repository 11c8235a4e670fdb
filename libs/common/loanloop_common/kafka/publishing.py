"""Publishing that returns when the broker has acknowledged everything, or raises."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from loanloop_common.errors import LoanloopError, MessageTooLarge, Unavailable
from loanloop_common.kafka.broker import Broker
from loanloop_common.telemetry import count, timed
from loanloop_common.trace_context import Headers

_BATCH_HEADER_BYTES = 61
_partition_of = DefaultPartitioner()


class Message(NamedTuple):
    key: bytes | None
    value: bytes
    headers: Headers = []  # noqa: RUF012  # aiokafka takes a list alone; nobody adds to this one


async def publish_batch(broker: Broker, topic: str, messages: Sequence[tuple[bytes | None, bytes]]) -> None:
    """Publish (key, value) pairs; returns once all are acknowledged. The order within a key is kept.

    Raises MessageTooLarge (before anything is sent, if the size is over `max_message_bytes`), Unavailable when
    acknowledgements stay away: then some may have been written, and a retry may write them twice.
    """
    await publish_messages(broker, topic, [Message(key, value) for key, value in messages])


async def publish_messages(broker: Broker, topic: str, messages: Sequence[Message]) -> None:
    """The same for messages with headers."""
    if not messages:
        return
    topic = str(topic)
    try:
        with timed("loanloop_publish_duration_seconds", topic=topic):
            await _publish(broker, topic, messages)
    except LoanloopError:
        count("loanloop_publish_failures_total", topic=topic)
        raise
    count("loanloop_messages_published_total", len(messages), topic=topic)


async def _publish(broker: Broker, topic: str, messages: Sequence[Message]) -> None:
    _check_sizes(topic, messages, broker.settings.max_message_bytes)
    producer = broker.producer
    try:
        async with asyncio.timeout(broker.settings.publish_within_s):
            await _send(producer, topic, messages)
    except TimeoutError as cause:
        raise Unavailable(f"Kafka has not acknowledged {len(messages)} messages for {topic}") from cause
    except KafkaError as cause:
        await broker.renew_producer(producer)
        if isinstance(cause, MessageSizeTooLargeError):
            largest = max(_size(message) for message in messages)
            raise MessageTooLarge(topic, largest, None) from cause
        raise Unavailable(f"Kafka does not take messages for {topic}: {cause!r}") from cause


def _size(message: Message) -> int:
    return _BATCH_HEADER_BYTES + int(DefaultRecordBatchBuilder.estimate_size_in_bytes(*message))


def _check_sizes(topic: str, messages: Iterable[Message], limit: int) -> None:
    for message in messages:
        # The exact size costs as much as sending; only what could be over the limit is measured.
        if len(message.value) + len(message.key or b"") + _bytes_of(message.headers) > limit // 2:
            size = _size(message)
            if size > limit:
                raise MessageTooLarge(topic, size, limit)


def _bytes_of(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers) if headers else 0


async def _send(producer: AIOKafkaProducer, topic: str, messages: Sequence[Message]) -> None:
    partitions = sorted(await producer.partitions_for(topic))
    by_partition: dict[int, list[Message]] = defaultdict(list)
    for message in messages:
        by_partition[_partition_of(message.key, partitions, partitions)].append(message)
    results = await asyncio.gather(
        *(_send_in_order(producer, topic, partition, some) for partition, some in by_partition.items()),
        return_exceptions=True,
    )
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _send_in_order(producer: AIOKafkaProducer, topic: str, partition: int, messages: Sequence[Message]) -> None:
    acknowledged = []
    batch = producer.create_batch()
    for key, value, headers in messages:
        if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
            acknowledged.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value, headers=headers)
    acknowledged.append(await producer.send_batch(batch, topic, partition=partition))
    for result in await asyncio.gather(*acknowledged, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
