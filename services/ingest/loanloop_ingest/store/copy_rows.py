"""COPY of rows that are written here, in its binary form.

The driver writes half a megabyte of rows before it sends any: PostgreSQL waits for it, and then it for PostgreSQL. Here
the first rows are stored while the next ones are written. And a moment that many cells share is written once.

A row is the number of its cells, and of each cell the number of its bytes, -1 for NULL, and the bytes.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from loanloop_common.postgres import Connection

Item = TypeVar("Item")

NULL = b"\xff\xff\xff\xff"

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_ROWS_AT_ONCE = 250
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """What a timestamptz counts, since 2000."""
    return (moment - _EPOCH) // _MICROSECOND


async def copy_rows(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    items: Sequence[Item],
    row_of: Callable[[Item], bytes],
    *,
    schema: str | None = "loan_data",
) -> None:
    """In the order given. `schema` is None for a temporary table."""
    await connection.copy_to_table(
        table, schema_name=schema, columns=columns, source=_pieces(items, row_of), format="binary"
    )


async def _pieces(items: Sequence[Item], row_of: Callable[[Item], bytes]) -> AsyncIterator[bytes]:
    yield _HEADER
    for start in range(0, len(items), _ROWS_AT_ONCE):
        yield b"".join(map(row_of, items[start : start + _ROWS_AT_ONCE]))
    yield _TRAILER
