"""Kafka records made by hand."""

from collections.abc import Sequence
from datetime import datetime

from aiokafka import ConsumerRecord

Headers = Sequence[tuple[str, bytes]]


def make_record(
    value: bytes | None = b"{}", *, topic: str = "loan.received", partition: int = 0, offset: int = 0,
    key: bytes | None = b"key", arrived_at: datetime | None = None, headers: Headers = (),
) -> ConsumerRecord:  # fmt: skip
    """`arrived_at`: as of a topic that keeps the broker's clock; else the producer's timestamp, 1970, is kept."""
    return ConsumerRecord(
        topic=topic, partition=partition, offset=offset,
        timestamp=int(arrived_at.timestamp() * 1000) if arrived_at else 0, timestamp_type=int(arrived_at is not None),
        key=key, value=value,
        checksum=None, serialized_key_size=len(key or b""), serialized_value_size=len(value or b""), headers=headers,
    )  # fmt: skip
