"""Header names that are not UTF-8: plain bytes to Kafka's broker and to librdkafka, an error in the midst of a batch to
aiokafka, which no consumer gets past (aiokafka 0.14).

Such a name is read with `\\xff` written for what is no text. A str with lone surrogates would keep the bytes, and then
break whoever logs it or sends it on.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

_HAS_HEADERS = 2  # the magic byte of the format that does


def read_any_header_name() -> None:
    """For every consumer of this process: aiokafka lets nobody say how it reads what it has fetched."""
    fetcher.MemoryRecords = AnyNameRecords


class AnyNameRecords(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka is untyped
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
            yield from self._batch
        except (UnicodeDecodeError, CorruptRecordException):  # the latter where aiokafka runs without its extensions
            # From the start again: the fetcher passes over the offsets that it has had.
            yield from _PatientBatch(self._data)


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
