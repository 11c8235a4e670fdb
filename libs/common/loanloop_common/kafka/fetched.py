"""What was fetched, read so that no batch that a client can send holds up its partition for good (aiokafka 0.14).

A header's name that is not UTF-8: plain bytes to Kafka's broker and to librdkafka, an error in the midst of a batch to
aiokafka. It is read with `\\xff` written for what is no text. A str with lone surrogates would keep the bytes, and then
break whoever logs it or sends it on.

A batch that unpacks to more than a consumer has room for: the broker takes it by its compressed size. It is handed over
as one record, whose value is the batch as it lay: its reader refuses that as it does any value that is no event.
"""

from collections.abc import Iterator
from typing import Any

import structlog
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecord, DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

from loanloop_common.kafka.unpacking import TooLarge, without_compression

log = structlog.get_logger()

_HAS_HEADERS = 2  # the magic byte of the format that does


def read_every_batch() -> None:
    """For every consumer of this process: aiokafka lets nobody say how it reads what it has fetched."""
    fetcher.MemoryRecords = FetchedRecords


class FetchedRecords(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka is untyped
    """What was fetched of a partition, batch by batch."""

    def next_batch(self) -> Any:
        data = self._next_slice
        batch = super().next_batch()
        return _Batch(batch, data) if batch is not None and batch.magic >= _HAS_HEADERS else batch


class _Batch:
    """Reads by aiokafka's compiled class, and from where that fails on by its slow one, which can be made patient."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            data = without_compression(self._data)
        except TooLarge:
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
