"""What was fetched, read so that no batch that a client can send holds up its partition for good (aiokafka 0.14).

A header's name that is not UTF-8: plain bytes to Kafka's broker and to librdkafka, an error in the midst of a batch to
aiokafka. It is read with `\\xff` written for what is no text. A str with lone surrogates would keep the bytes, and then
break whoever logs it or sends it on.

A batch that unpacks to more than a consumer has room for, or not at all: the broker takes it by its compressed size. It
is handed over as one record, whose value says so in a line of its own before the batch as it lay; so is a record, cut,
that is longer than any message may be. No event begins so: their reader refuses them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

from loanloop_common.kafka.unpacking import NotUnpacked, without_compression

log = structlog.get_logger()

NOT_READ = b"not read: "
_HAS_HEADERS = 2  # the magic byte of the format that does
_KEY_BYTES = 4096


@dataclass(frozen=True)
class Room:
    """What a consumer has room for: a record with its key and headers, and what a batch unpacks to."""

    record_bytes: int
    batch_bytes: int


_room: ContextVar[Room | None] = ContextVar("room", default=None)


@contextmanager
def every_batch_read(room: Room) -> Iterator[None]:
    """By the consumer that is started within: its tasks keep the context that they begin in.

    aiokafka lets nobody say how it reads what it has fetched, so the class is put in place for the whole process. Any
    other consumer there reads as ever.
    """
    fetcher.MemoryRecords = _records_of
    before = _room.set(room)
    try:
        yield
    finally:
        _room.reset(before)


def _records_of(data: bytes) -> Any:
    room = _room.get()
    return MemoryRecords(data) if room is None else FetchedRecords(data, room)


class FetchedRecords(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka is untyped
    """What was fetched of a partition, batch by batch."""

    def __init__(self, data: bytes, room: Room) -> None:
        super().__init__(data)
        self._room = room

    def next_batch(self) -> Any:
        data = self._next_slice
        batch = super().next_batch()
        if batch is None or batch.magic < _HAS_HEADERS:
            return batch
        return _Batch(batch, data, self._room)


class _Batch:
    """Reads by aiokafka's compiled class, and from where that fails on by its slow one, which can be made patient."""

    def __init__(self, batch: Any, data: memoryview, room: Room) -> None:
        self._batch = batch
        self._data = data
        self._room = room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            data = without_compression(self._data, limit=self._room.batch_bytes)
        except NotUnpacked:
            yield self._in_its_place()
            return
        records = self._records(data)
        yield from records if len(data) <= self._room.record_bytes else map(self._as_held, records)

    def _records(self, data: Any) -> Iterator[Any]:
        try:
            yield from DefaultRecordBatch(data)
        except (UnicodeDecodeError, CorruptRecordException):  # the latter where aiokafka runs without its extensions
            # From the start again: the fetcher passes over the offsets that it has had.
            yield from _PatientBatch(data)

    def _in_its_place(self) -> Any:
        batch, last = self._batch, self._batch.next_offset - 1
        log.warning("batch_not_unpacked", offset=batch.base_offset, last_offset=last, n_bytes=len(self._data))
        n, limit = last - batch.base_offset + 1, self._room.batch_bytes
        said = NOT_READ + f"a batch of {n:,} records, which unpacks to more than {limit:,} bytes or not\n".encode()
        return DefaultRecord(last, batch.max_timestamp, batch.timestamp_type, None, said + bytes(self._data), [])

    def _as_held(self, record: Any) -> Any:
        """Itself, unless it is too long."""
        size, limit = size_of(record), self._room.record_bytes
        if size <= limit:
            return record
        key, value = record.key or b"", record.value or b""
        log.warning("record_cut", offset=record.offset, n_bytes=size)
        said = NOT_READ + f"a record of {size:,} bytes, and {limit:,} are the most that one may have\n".encode()
        return DefaultRecord(
            record.offset, record.timestamp, record.timestamp_type, key[:_KEY_BYTES], said + value[:limit], []
        )


def size_of(record: Any) -> int:
    """In bytes, of all that its sender has chosen."""
    size = len(record.value or b"") + len(record.key or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else size


class _PatientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # as above
    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Text(self._buffer)


class _Text(bytearray):
    """Bytes whose every part can be decoded; aiokafka decodes nothing but names."""

    def __getitem__(self, where: Any) -> Any:
        part = super().__getitem__(where)
        return _Text(part) if isinstance(where, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)
