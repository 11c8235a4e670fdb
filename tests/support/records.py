"""Kafka records made by hand."""

from aiokafka import ConsumerRecord


def make_record(
    value: bytes | None = b"{}", *, topic: str = "loan.received", partition: int = 0, offset: int = 0,
    key: bytes | None = b"key",
) -> ConsumerRecord:  # fmt: skip
    return ConsumerRecord(
        topic=topic, partition=partition, offset=offset, timestamp=0, timestamp_type=0, key=key, value=value,
        checksum=None, serialized_key_size=len(key or b""), serialized_value_size=len(value or b""), headers=(),
    )  # fmt: skip
