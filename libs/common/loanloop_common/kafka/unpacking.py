"""Compressed batches, unpacked up to a limit: aiokafka has none, and 30 KB can be made to unpack to a gigabyte."""

import gzip
import io
import struct
import zlib
from collections.abc import Callable

import cramjam
import numpy as np
from aiokafka.codec import _detect_xerial_stream, snappy_decode
from aiokafka.record.default_records import DefaultRecordBase

_HEAD = DefaultRecordBase.HEADER_STRUCT.size
_ATTRIBUTES = DefaultRecordBase.ATTRIBUTES_OFFSET
_CODEC = DefaultRecordBase.CODEC_MASK
_XERIAL_HEAD = 16
_UNREADABLE = (cramjam.DecompressionError, OSError, EOFError, zlib.error, struct.error)


class NotUnpacked(Exception):
    """It would be more than the limit, or is no such compressed data at all."""


def without_compression(batch: bytes | memoryview, *, limit: int) -> bytes | bytearray | memoryview:
    """The batch with its records as they are; its sum is not made anew. Raises NotUnpacked."""
    (attributes,) = struct.unpack_from(">h", batch, _ATTRIBUTES)
    unpack = _UNPACK.get(attributes & _CODEC)
    if unpack is None:
        return batch
    head = bytearray(batch[:_HEAD])
    struct.pack_into(">h", head, _ATTRIBUTES, attributes & ~_CODEC)
    try:
        return head + unpack(bytes(batch[_HEAD:]), limit)
    except _UNREADABLE as cause:
        raise NotUnpacked from cause


def _gzip(data: bytes, limit: int) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        unpacked = file.read(limit + 1)
    if len(unpacked) > limit:
        raise NotUnpacked
    return unpacked


def _snappy(data: bytes, limit: int) -> bytes:
    if _snappy_size(data) > limit:
        raise NotUnpacked
    return bytes(snappy_decode(data))


def _snappy_size(data: bytes) -> int:
    """As each block says; one that holds more is an error of its own."""
    if not _detect_xerial_stream(data):
        return int(cramjam.snappy.decompress_raw_len(data))
    size, at = 0, _XERIAL_HEAD
    while at < len(data):
        (length,) = struct.unpack_from("!i", data, at)
        if length < 0:
            raise NotUnpacked
        at += 4 + length
        size += cramjam.snappy.decompress_raw_len(data[at - length : at])
    return size


def _lz4(data: bytes, limit: int) -> memoryview:
    room = _room(limit)
    return room[: cramjam.lz4.decompress_into(data, room)]


def _zstd(data: bytes, limit: int) -> memoryview:
    room = _room(limit)
    return room[: cramjam.zstd.decompress_into(data, room)]


def _room(limit: int) -> memoryview:
    # No bytearray: that would be set to zeros, which takes longer than all the rest.
    return np.empty(limit, np.uint8).data


_UNPACK: dict[int, Callable[[bytes, int], bytes | memoryview]] = {
    DefaultRecordBase.CODEC_GZIP: _gzip,
    DefaultRecordBase.CODEC_SNAPPY: _snappy,
    DefaultRecordBase.CODEC_LZ4: _lz4,
    DefaultRecordBase.CODEC_ZSTD: _zstd,
}
