"""The frozen rows of a run, read as a stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from loanloop_common.postgres import Connection, Pool

from loanloop_trainer.store.freeze import Window

ROWS_AT_ONCE = 5000

SELECT_ROWS = """
    SELECT p.occurred_at, r.defaulted, p.features::text AS features
    FROM loan_data.training_rows r
    JOIN loan_data.processed_data p USING (loan_id)
    WHERE r.run_id = $1
    ORDER BY p.occurred_at, p.loan_id
"""

SELECT_WINDOW_ROWS = """
    SELECT occurred_at, defaulted, features::text AS features FROM loan_data.processed_data
    WHERE counts_at <= $1 AND occurred_at > $2 AND occurred_at < $3
    ORDER BY occurred_at, loan_id
"""

COUNT_ROWS = (
    "SELECT count(*) FROM loan_data.training_rows JOIN loan_data.processed_data USING (loan_id) WHERE run_id = $1"
)


async def stream_rows(pool: Pool, run_id: UUID) -> AsyncIterator[list[Any]]:
    """Batches of (occurred_at, defaulted, features as JSON text), in order of occurrence."""
    async for batch in _stream(pool, SELECT_ROWS, run_id):
        yield batch


async def stream_window(pool: Pool, window: Window) -> AsyncIterator[list[Any]]:
    """The same of a window that is not frozen for a run."""
    async for batch in _stream(pool, SELECT_WINDOW_ROWS, window.as_of, window.first, window.gate_from):
        yield batch


async def _stream(pool: Pool, query: str, *arguments: Any) -> AsyncIterator[list[Any]]:
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        cursor = await connection.cursor(query, *arguments)
        while batch := await cursor.fetch(ROWS_AT_ONCE):
            yield batch


async def wait_for_rows(pool: Pool, run_id: UUID, n_rows: int, *, within_s: float) -> None:
    """Until a replica has caught up with the run's frozen rows. Raises TimeoutError."""
    async with asyncio.timeout(within_s), pool.acquire() as connection:
        while await _count_rows(connection, run_id) != n_rows:  # noqa: ASYNC110 - another server fills them
            await asyncio.sleep(1)


async def _count_rows(connection: Connection, run_id: UUID) -> int:
    n: int = await connection.fetchval(COUNT_ROWS, run_id)
    return n
