"""Batches of records as other clients send them, and aiokafka's producer never would."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.codec import zstd_encode
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

ODD_NAME = "NAME"  # what stands in a batch where no_text puts bytes that are none
NO_TEXT = b"\xff\xfe\x80A"
READ_AS = "\\xff\\xfe\\x80A"

Said = tuple[bytes | None, bytes, list[tuple[str, bytes]]]

_HEAD, _LENGTH, _ATTRIBUTES, _CRC = 61, 8, 21, 17
_ZSTD = 4


def batch_of(records: Sequence[Said], *, base_offset: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 100_000_000)
    for offset, (key, value, headers) in enumerate(records):
        builder.append(offset, None, key, value, headers)
    return struct.pack(">q", base_offset) + bytes(builder.build())[8:]  # the sum of the rest does not count it


def no_text(batch: bytes) -> bytes:
    """With a header's name that is not UTF-8 wherever ODD_NAME stood."""
    assert ODD_NAME.encode() in batch
    return _sealed(bytearray(batch.replace(ODD_NAME.encode(), NO_TEXT)))


def compressed(batch: bytes, codec: int = _ZSTD, encode: Callable[[bytes], bytes] = zstd_encode) -> bytes:
    changed = bytearray(batch[:_HEAD]) + encode(batch[_HEAD:])
    struct.pack_into(">h", changed, _ATTRIBUTES, codec)
    return _sealed(changed)


def corrupt(batch: bytes) -> bytes:
    return batch[:-1] + bytes([batch[-1] ^ 1])


def _sealed(batch: bytearray) -> bytes:
    struct.pack_into(">i", batch, _LENGTH, len(batch) - _LENGTH - 4)
    struct.pack_into(">I", batch, _CRC, calc_crc32c(bytes(batch[_ATTRIBUTES:])))
    return bytes(batch)


class _Made(BatchBuilder):  # type: ignore[misc]  # aiokafka is untyped
    def __init__(self, batch: bytes) -> None:
        super().__init__(1, 0)
        self._buffer = batch

    def _set_producer_state(self, *_: Any) -> None:
        pass

    def record_count(self) -> int:
        return int.from_bytes(self._buffer[_HEAD - 4 : _HEAD])


async def send(bootstrap: str, topic: str, partition: int, batch: bytes) -> int:
    """As it is; the first offset that it has got."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        acknowledged = await producer.send_batch(_Made(batch), topic, partition=partition)
        return int((await acknowledged).offset)
