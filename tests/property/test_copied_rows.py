"""Rows in PostgreSQL's binary COPY format are the same wherever the pieces of the copy end, and none is lost."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loanloop_trainer.store.rows import BinaryRows, CopyMalformed

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
loans = st.lists(st.tuples(st.integers(-(2**40), 2**40), st.booleans(), st.binary(max_size=9)), max_size=6)


def one(occurred_at: int, defaulted: bool, features: bytes) -> bytes:
    return struct.pack(">hiqi?i", 3, 8, occurred_at, 1, defaulted, len(features)) + features


def copied(rows: list[tuple[int, bool, bytes]]) -> bytes:
    return HEADER + b"".join(one(*row) for row in rows) + TRAILER


def with_null(column: int, row: tuple[int, bool, bytes]) -> bytes:
    values = [struct.pack(">q", row[0]), struct.pack("?", row[1]), row[2]]
    fields = [
        struct.pack(">i", -1) if i == column else struct.pack(">i", len(value)) + value
        for i, value in enumerate(values)
    ]
    return struct.pack(">h", 3) + b"".join(fields)


def read_in_pieces(copy: bytes, cuts: list[int]) -> list[tuple[int, bool, bytes]]:
    reader = BinaryRows()
    found: list[tuple[int, bool, bytes]] = []
    for start, end in zip([0, *cuts], [*cuts, len(copy)], strict=True):
        reader.add(copy[start:end])
        found += zip(*reader.whole(), strict=True)
    reader.end()
    return found


@given(loans, st.data())
def test_a_copy_cut_anywhere_gives_each_row_once(rows: list[tuple[int, bool, bytes]], data: st.DataObject) -> None:
    copy = copied(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(copy)))))
    reader = BinaryRows()
    found: list[tuple[int, bool, bytes]] = []

    for start, end in zip([0, *cuts], [*cuts, len(copy)], strict=True):
        reader.add(copy[start:end])
        if data.draw(st.booleans()) or end == len(copy):
            found += zip(*reader.whole(), strict=True)
    reader.end()

    assert found == rows


@given(loans, st.tuples(st.integers(-(2**40), 2**40), st.booleans(), st.binary(max_size=9)), loans, st.data())
def test_a_null_is_refused_wherever_it_stands(
    before: list[tuple[int, bool, bytes]],
    row: tuple[int, bool, bytes],
    after: list[tuple[int, bool, bytes]],
    data: st.DataObject,
) -> None:
    null = with_null(data.draw(st.integers(0, 2)), row)
    copy = copied(before)[: -len(TRAILER)] + null + copied(after)[len(HEADER) :]

    with pytest.raises(CopyMalformed, match=f"after row {len(before)}:"):
        read_in_pieces(copy, sorted(data.draw(st.lists(st.integers(0, len(copy))))))


@given(loans, st.data())
def test_a_copy_without_its_end_is_refused(rows: list[tuple[int, bool, bytes]], data: st.DataObject) -> None:
    copy = copied(rows)
    cut = copy[: data.draw(st.integers(0, len(copy) - 1))]

    with pytest.raises(CopyMalformed):
        read_in_pieces(cut, sorted(data.draw(st.lists(st.integers(0, len(cut))))))


@given(loans, st.binary(min_size=1, max_size=40))
def test_a_copy_with_something_behind_its_end_is_refused(rows: list[tuple[int, bool, bytes]], something: bytes) -> None:
    with pytest.raises(CopyMalformed):
        read_in_pieces(copied(rows) + something, [])
