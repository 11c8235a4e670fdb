"""Rows in PostgreSQL's binary COPY format are the same wherever the pieces of the copy end."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from loanloop_trainer.store.rows import BinaryRows

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
loans = st.lists(st.tuples(st.integers(-(2**40), 2**40), st.booleans(), st.binary(max_size=9)), max_size=6)


def copied(rows: list[tuple[int, bool, bytes]]) -> bytes:
    tuples = [
        struct.pack(">hiqi?i", 3, 8, occurred_at, 1, defaulted, len(features)) + features
        for occurred_at, defaulted, features in rows
    ]
    return HEADER + b"".join(tuples) + TRAILER


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

    assert found == rows
