"""What was fetched, read so that no batch that a client can send holds up its partition for good (aiokafka 0.14).

A header's name that is not UTF-8: plain bytes to Kafka's broker and to librdkafka, an error in the midst of a batch to
aiokafka. It is read with `\\xff` written for what is no text. A str with lone surrogates would keep the bytes, and then
break whoever logs it or sends it on.

A batch that unpacks to more than a consumer has room for, or not at all: the broker takes it by its compressed size. It
is handed over as one record, whose value is the batch as it lay: its reader refuses that as it does any value that is
no event.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

from loanloop_common.kafka.unpacking import NotUnpacked, without_compression

log = structlog.get_logger()

_HAS_HEADERS = 2  # the magic byte of the format that does


_max_unpacked_bytes: ContextVar[int | None] = ContextVar("max_unpacked_bytes", default=None)


@contextmanager
def every_batch_read(*, max_unpacked_bytes: int) -> Iterator[None]:
    """By the consumer that is started within: its tasks keep the context that they begin in.

    aiokafka lets nobody say how it reads what it has fetched, so the class is put in place for the whole process. Any
    other consumer there reads as ever.
    """
    fetcher.MemoryRecords = _records_of
    before = _max_unpacked_bytes.set(max_unpacked_bytes)
    try:
        yield
    finally:
        _max_unpacked_bytes.reset(before)


def _records_of(data: bytes) -> Any:
    limit = _max_unpacked_bytes.get()
    return MemoryRecords(data) if limit is None else FetchedRecords(data, max_unpacked_bytes=limit)


class FetchedRecords(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka is untyped
    """What was fetched of a partition, batch by batch."""

    def __init__(self, data: bytes, *, max_unpacked_bytes: int) -> None:
        super().__init__(data)
        self._max_unpacked_bytes = max_unpacked_bytes

    def next_batch(self) -> Any:
        data = self._next_slice
        batch = super().next_batch()
        if batch is None or batch.magic < _HAS_HEADERS:
            return batch
        return _Batch(batch, data, self._max_unpacked_bytes)


class _Batch:
    """Reads by aiokafka's compiled class, and from where that fails on by its slow one, which can be made patient."""

    def __init__(self, batch: Any, data: memoryview, max_unpacked_bytes: int) -> None:
        self._batch = batch
        self._data = data
        self._max_unpacked_bytes = max_unpacked_bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            data = without_compression(self._data, limit=self._max_unpacked_bytes)
        except NotUnpacked:
            yield self._in_its_place()
            return
        try:
            yield from DefaultRecordBatch(data)
        except (UnicodeDecodeError, CorruptRecordException):  # the latter where aiokafka runs without its extensions
            # From the start again: the fetcher passes over the offsets that it has had.
            yield from _PatientBatch(data)

    def _in_its_place(self) -> Any:
        batch, last = self._batch, self._batch.next_offset - 1
        log.warning("batch_not_unpacked", offset=batch.base_offset, last_offset=last, n_bytes=len(self._data))
        return DefaultRecord(last, batch.max_timestamp, batch.timestamp_type, None, bytes(self._data), [])


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
