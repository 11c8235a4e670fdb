"""What a batch unpacks to is bounded, by whatever it was compressed; what is below the bound is read as before."""

import asyncio
import gzip
from collections.abc import Callable

import pytest
from aiokafka import TopicPartition
from aiokafka.codec import lz4_encode, snappy_encode, zstd_encode
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords
from loanloop_common.kafka.fetched import NOT_READ, FetchedRecords, Room, every_batch_read
from loanloop_common.kafka.unpacking import NotUnpacked, without_compression

from tests.support.odd_batches import batch_of, compressed

Encode = Callable[[bytes], bytes]


def raw_snappy(data: bytes) -> bytes:
    return bytes(snappy_encode(data, xerial_compatible=False))


CODECS = [(1, gzip.compress), (2, snappy_encode), (2, raw_snappy), (3, lz4_encode), (4, zstd_encode)]
each_codec = pytest.mark.parametrize(("codec", "encode"), CODECS, ids=["gzip", "xerial", "snappy", "lz4", "zstd"])
BATCH = batch_of([(b"k", bytes(50_000), [])])
CONTENT = BATCH[61:]
ROOM = Room(record_bytes=20_000, batch_bytes=1_000_000)


@each_codec
def test_batch_is_unpacked_up_to_the_limit_and_no_further(codec: int, encode: Encode) -> None:
    batch = compressed(BATCH, codec, encode)

    assert bytes(without_compression(batch, limit=len(CONTENT)))[61:] == CONTENT
    with pytest.raises(NotUnpacked):
        without_compression(batch, limit=len(CONTENT) - 1)


@each_codec
def test_what_is_not_compressed_as_it_says_is_refused(codec: int, encode: Encode) -> None:
    with pytest.raises(NotUnpacked):
        without_compression(compressed(BATCH, codec, lambda data: encode(data)[:-9]), limit=2 * len(CONTENT))


def test_batch_that_is_too_large_is_one_record_between_its_neighbours() -> None:
    large = compressed(batch_of([(b"k", bytes(ROOM.batch_bytes // 2), [])] * 2, base_offset=1))
    data = batch_of([(b"k", b"v0", [])]) + large + compressed(batch_of([(b"k", bytes(9000), [])], base_offset=3))

    fetched = FetchedRecords(data, ROOM)
    records = list(fetcher.PartitionRecords(TopicPartition("t", 0), fetched, None, 0, None, None, True, 0))

    assert [(record.offset, record.key, record.value) for record in records] == [
        (0, b"k", b"v0"),
        (
            2,
            None,
            NOT_READ + b"a batch of 2 records, which unpacks to more than 1,000,000 bytes or not\n" + large,
        ),
        (3, b"k", bytes(9000)),
    ]


async def test_only_a_consumer_that_asks_for_it_reads_so() -> None:
    async def read() -> object:
        return fetcher.MemoryRecords(BATCH)

    with every_batch_read(ROOM):
        its_task = asyncio.create_task(read())
    another = asyncio.create_task(read())

    assert isinstance(await its_task, FetchedRecords)
    assert isinstance(await another, MemoryRecords)


@pytest.mark.parametrize("encode", [lambda batch: batch, compressed], ids=["plain", "zstd"])
def test_record_that_is_too_long_is_cut_and_says_so_and_its_neighbours_are_whole(encode: Encode) -> None:
    long = [(b"k" * 9000, bytes(30_000), [("h", b"x")]), (b"k", b"v", [("h", bytes(20_000))])]
    data = encode(batch_of([(b"k", b"v0", []), *long, (b"k", b"v3", [("h", b"x")])]))

    fetched = FetchedRecords(data, ROOM)
    records = list(fetcher.PartitionRecords(TopicPartition("t", 0), fetched, None, 0, None, None, True, 0))

    said = NOT_READ + b"a record of %s bytes, and 20,000 are the most that one may have\n"
    assert [(record.offset, record.key, record.value, record.headers) for record in records] == [
        (0, b"k", b"v0", ()),
        (1, b"k" * 4096, said % b"39,002" + bytes(20_000), ()),
        (2, b"k", said % b"20,003" + b"v", ()),
        (3, b"k", b"v3", (("h", b"x"),)),
    ]
