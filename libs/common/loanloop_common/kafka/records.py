"""A batch of records as FastStream hands it over, and the offsets it stands for."""

from collections.abc import Iterable
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from faststream.kafka import KafkaMessage
from faststream.kafka.message import FAKE_CONSUMER


def raw_message(records: tuple[ConsumerRecord, ...]) -> KafkaMessage:
    # FastStream's own parser decodes every header as UTF-8; one producer's odd header would lose the batch.
    return KafkaMessage(body=b"", raw_message=records, consumer=FAKE_CONSUMER)


def raw_records(message: KafkaMessage) -> Any:
    return message.raw_message


def first_offsets(records: Iterable[ConsumerRecord]) -> dict[TopicPartition, int]:
    offsets: dict[TopicPartition, int] = {}
    for record in records:
        offsets.setdefault(TopicPartition(record.topic, record.partition), record.offset)
    return offsets


def next_offsets(records: Iterable[ConsumerRecord]) -> dict[TopicPartition, int]:
    return {TopicPartition(record.topic, record.partition): record.offset + 1 for record in records}
