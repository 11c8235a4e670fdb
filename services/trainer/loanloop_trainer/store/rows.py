"""The frozen rows of a run, copied from PostgreSQL in its binary format (its manual, COPY, "Binary Format")."""

import asyncio
import struct
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg import QueryCanceledError
from loanloop_common.errors import LoanloopError, in_one_line
from loanloop_common.postgres import Connection, Pool

from loanloop_trainer.store.availability import DatabaseAway
from loanloop_trainer.store.freeze import SELECT_UNLABELLED, Window

# A few milliseconds to decode: so long the event loop does nothing else.
BYTES_AT_ONCE = 512 * 1024
# However long the whole copy takes: its first row comes when all are sorted.
SILENT_AT_MOST_S = 600.0
_FOR_EVER_S = 1e7  # asyncpg's own limit is of the whole copy, 60 s unless it is told another

SELECT_ROWS = """
    SELECT p.occurred_at, r.defaulted, p.features
    FROM loan_data.training_rows r
    JOIN loan_data.processed_data p USING (loan_id)
    WHERE r.run_id = $1 AND r.defaulted IS NOT NULL
    ORDER BY p.occurred_at, p.loan_id
"""

# Those without a label come in the same form: `false` stands where one would, and nobody may read it.
SELECT_UNLABELLED_ROWS = """
    SELECT p.occurred_at, false, p.features
    FROM loan_data.training_rows r
    JOIN loan_data.processed_data p USING (loan_id)
    WHERE r.run_id = $1 AND r.defaulted IS NULL
    ORDER BY p.occurred_at, p.loan_id
"""

SELECT_WINDOW_ROWS = """
    SELECT occurred_at, defaulted, features FROM loan_data.processed_data
    WHERE counts_at <= $1 AND occurred_at > $2 AND occurred_at < $3
    ORDER BY occurred_at, loan_id
"""

SELECT_UNLABELLED_OF_WINDOW = f"""
    SELECT p.occurred_at, false, p.features
    FROM ({SELECT_UNLABELLED}) newest
    JOIN loan_data.processed_data p USING (loan_id)
    ORDER BY p.occurred_at, p.loan_id
"""  # noqa: S608  # of constants alone

COUNT_ROWS = (
    "SELECT count(*) FROM loan_data.training_rows JOIN loan_data.processed_data USING (loan_id) WHERE run_id = $1"
)


_HEADER_BYTES = 19
# (columns, length, occurred_at, length, defaulted, length of the features that follow)
_ROW = struct.Struct(">hiqi?i")
_TRAILER = b"\xff\xff"


class CopyMalformed(LoanloopError):
    """The copy isn't what its query asks for: rows would be missing, or others than those of the database."""


class StoredLoans(NamedTuple):
    """`occurred_at` in microseconds since 2000-01-01, UTC; `features` as JSON."""

    occurred_at: list[int]
    defaulted: list[bool]
    features: list[bytes]


Take = Callable[[StoredLoans], None]


class BinaryRows:
    """Takes a copy apart whose pieces may end anywhere."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._n_bytes = 0
        self._position = _HEADER_BYTES
        self._n_rows = 0

    def add(self, piece: bytes) -> int:
        """How many bytes wait to be taken apart."""
        self._pieces.append(piece)
        self._n_bytes += len(piece)
        return self._n_bytes

    def whole(self) -> StoredLoans:
        """The rows that are there in full; the others stay. Raises CopyMalformed."""
        data, at = b"".join(self._pieces), self._position
        loans = StoredLoans([], [], [])
        while at + _ROW.size <= len(data):
            n_columns, of_time, occurred_at, of_label, defaulted, n_bytes = _ROW.unpack_from(data, at)
            if not (n_columns == 3 and of_time == 8 and of_label == 1 and n_bytes >= 0):
                raise self._malformed(len(loans.features))
            ends = at + _ROW.size + n_bytes
            if ends > len(data):
                break
            loans.occurred_at.append(occurred_at)
            loans.defaulted.append(defaulted)
            loans.features.append(data[at + _ROW.size : ends])
            at = ends
        self._pieces, self._n_bytes = [data[at:]], max(0, len(data) - at)
        self._position = max(0, at - len(data))
        self._n_rows += len(loans.features)
        return loans

    def end(self) -> None:
        """After the last piece and the last `whole`. Raises CopyMalformed unless nothing but the trailer is left."""
        if self._position or b"".join(self._pieces) != _TRAILER:
            raise self._malformed(0)

    def _malformed(self, n_before: int) -> CopyMalformed:
        return CopyMalformed(
            f"what PostgreSQL copied breaks off or changes its form after row {self._n_rows + n_before:,}: one of the "
            "next loan's occurred_at, defaulted and features is NULL or of another type, or the copy's end is missing"
        )


async def copy_rows(pool: Pool, run_id: UUID, take: Take) -> None:
    """Hands the labelled rows over, some at a time, in order of occurrence. Raises CopyMalformed, DatabaseAway."""
    await _copy(pool, take, SELECT_ROWS, run_id)


async def copy_unlabelled(pool: Pool, run_id: UUID, take: Take) -> None:
    """The same of the others; their `defaulted` says nothing."""
    await _copy(pool, take, SELECT_UNLABELLED_ROWS, run_id)


async def copy_window(pool: Pool, window: Window, take: Take) -> None:
    """The same of a window that is not frozen for a run."""
    await _copy(pool, take, SELECT_WINDOW_ROWS, window.as_of, window.first, window.gate_from)


async def copy_unlabelled_of(pool: Pool, window: Window, at_most: int, take: Take) -> None:
    await _copy(pool, take, SELECT_UNLABELLED_OF_WINDOW, window.as_of, window.first, window.gate_from, at_most)


async def _copy(pool: Pool, take: Take, query: str, *arguments: Any) -> None:
    rows, now = BinaryRows(), asyncio.get_running_loop().time

    async def output(data: bytes) -> None:
        silence.reschedule(now() + SILENT_AT_MOST_S)
        if rows.add(data) >= BYTES_AT_ONCE:
            take(rows.whole())

    async with pool.acquire() as connection:
        try:
            async with asyncio.timeout(SILENT_AT_MOST_S) as silence:
                # Back pressure is TCP's: PostgreSQL makes ready what the sockets hold while one part is taken.
                await connection.copy_from_query(query, *arguments, output=output, format="binary", timeout=_FOR_EVER_S)
        except TimeoutError as silent:
            if not silence.expired():
                raise
            raise DatabaseAway(f"no row of the training's loans came for {SILENT_AT_MOST_S:g} s") from silent
        except QueryCanceledError as ended:
            raise DatabaseAway(f"PostgreSQL ended the copy of the training's loans: {in_one_line(ended)}") from ended
    take(rows.whole())
    rows.end()


async def wait_for_rows(pool: Pool, run_id: UUID, n_rows: int, *, within_s: float) -> None:
    """Until a replica has caught up with the run's frozen rows, with a label or without, `n_rows` in all.

    Raises TimeoutError, which says how far it is.
    """
    found = None
    try:
        async with asyncio.timeout(within_s), pool.acquire() as connection:
            while (found := await _count_rows(connection, run_id)) != n_rows:  # noqa: ASYNC110 - another server fills
                await asyncio.sleep(1)
    except TimeoutError as late:
        there = "none of them counted" if found is None else f"{found:,} of them there"
        raise TimeoutError(f"after {within_s:g} s the {n_rows:,} frozen rows are not on the replica, {there}") from late


async def _count_rows(connection: Connection, run_id: UUID) -> int:
    n: int = await connection.fetchval(COUNT_ROWS, run_id)
    return n
