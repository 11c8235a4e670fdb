"""A batch of records as FastStream hands it over, and the offsets it stands for."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from faststream.kafka import KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER

_LOG_APPEND_TIME = 1


# FastStream calls what is not async in a thread, and waiting for one costs a small batch more than all its work.
async def raw_message(records: tuple[ConsumerRecord, ...]) -> KafkaMessage:
    # FastStream's own parser decodes every header as UTF-8; one producer's odd header would lose the batch.
    return KafkaMessage(body=b"", raw_message=records, consumer=FAKE_CONSUMER)


async def raw_records(message: KafkaMessage) -> Any:
    return message.raw_message


def arrived_at(record: ConsumerRecord, now: datetime) -> datetime:
    """When Kafka took the record, by the broker's clock: the same for every reader, whenever it reads.

    `now` where the topic keeps the producer's own timestamps, which say nothing.
    """
    if record.timestamp_type != _LOG_APPEND_TIME:
        return now
    return _moment(record.timestamp)


@lru_cache(maxsize=64)  # what a producer sends together has one time
def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def first_offsets(records: Iterable[ConsumerRecord]) -> dict[TopicPartition, int]:
    offsets: dict[TopicPartition, int] = {}
    for record in records:
        offsets.setdefault(TopicPartition(record.topic, record.partition), record.offset)
    return offsets


def next_offsets(records: Iterable[ConsumerRecord]) -> dict[TopicPartition, int]:
    return {TopicPartition(record.topic, record.partition): record.offset + 1 for record in records}


def places_of(records: Iterable[ConsumerRecord]) -> list[str]:
    """For a log line: `TOPIC:PARTITION:FIRST-LAST` of each partition."""
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for record in records:
        offsets[record.topic, record.partition].append(record.offset)
    return [f"{topic}:{number}:{min(some)}-{max(some)}" for (topic, number), some in sorted(offsets.items())]
