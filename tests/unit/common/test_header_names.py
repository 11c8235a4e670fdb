"""A header's name may be any bytes: the record is read as any other, and the others of its batch with it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from loanloop_common.kafka.fetched import FetchedRecords, Room

from tests.support.odd_batches import NO_TEXT, ODD_NAME, READ_AS, Said, batch_of, compressed, corrupt, no_text

RECORDS: list[Said] = [
    (b"k0", b"v0", []),
    (b"k1", b"v1", [("traceparent", b"00-1"), (ODD_NAME, b"x")]),
    (None, b"v2 " + NO_TEXT, [("größe", b"\xff")]),
]
READ = [
    (0, b"k0", b"v0", ()),
    (1, b"k1", b"v1", (("traceparent", b"00-1"), (READ_AS, b"x"))),
    (2, None, b"v2 " + NO_TEXT, (("größe", b"\xff"),)),
]


def read(data: bytes, *, from_offset: int = 0) -> Iterator[Any]:
    """As aiokafka's fetcher reads what a broker answered."""
    return fetcher.PartitionRecords(  # type: ignore[no-any-return]
        TopicPartition("t", 0),
        FetchedRecords(data, Room(1_000_000, 1_000_000)),
        None,
        from_offset,
        None,
        None,
        True,
        fetcher.READ_COMMITTED,
    )


def said(records: Iterator[Any]) -> list[tuple[Any, ...]]:
    return [(record.offset, record.key, record.value, record.headers) for record in records]


@pytest.mark.parametrize("sent", [lambda batch: batch, compressed], ids=["plain", "zstd"])
def test_record_with_a_name_that_is_no_text_is_read_once_with_its_neighbours(sent: Callable[[bytes], bytes]) -> None:
    assert said(read(sent(no_text(batch_of(RECORDS))))) == READ


def test_what_lies_before_and_behind_such_a_batch_is_read() -> None:
    plain: list[Said] = [(b"k", b"v", [("name", b"x")])]
    rest = no_text(batch_of(RECORDS, base_offset=1)) + batch_of(plain, base_offset=4)

    assert [record.offset for record in read(batch_of(plain) + rest)] == [0, 1, 2, 3, 4]
    assert [record.offset for record in read(rest, from_offset=3)] == [3, 4]


def test_name_is_text_that_can_be_logged_and_sent_on() -> None:
    (_, odd, _) = read(no_text(batch_of(RECORDS)))

    READ_AS.encode()
    again = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 100_000)
    assert again.append(0, None, odd.key, odd.value, list(odd.headers)) is not None


def test_batch_whose_sum_is_wrong_is_an_error_as_before() -> None:
    with pytest.raises(CorruptRecordException):
        list(read(corrupt(no_text(batch_of(RECORDS)))))
