"""What only PostgreSQL refuses is found, and costs the good ones nothing."""

from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from loanloop_common.bisection import bisect_batch
from loanloop_common.postgres import Pool, create_pool


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test")
    await pool.execute("CREATE TABLE names (name text PRIMARY KEY, age integer CHECK (age < 200))")
    yield pool
    await pool.close()


class NamesStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.calls = 0

    async def insert(self, rows: Sequence[tuple[str, int]]) -> None:
        self.calls += 1
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.executemany("INSERT INTO names VALUES ($1, $2)", rows)

    async def copy(self, rows: Sequence[tuple[str, int]]) -> None:
        self.calls += 1
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.copy_records_to_table("names", records=rows)


@pytest.mark.parametrize("way", ["insert", "copy"])
async def test_refused_rows_are_returned_and_all_others_stored(pool: Pool, way: str) -> None:
    bad = [("a\0b", 1), ("\ud800", 1), ("old", 400), ("huge", 2**40)]
    good = [(f"n{number}", 30) for number in range(1000)]
    rows = [*good[:300], *bad[:3], *good[300:], *bad[3:]]
    store = NamesStore(pool)

    refused = await bisect_batch(rows, getattr(store, way))

    assert [row for row, _ in refused] == bad
    assert await pool.fetchval("SELECT count(*) FROM names") == 1000
    assert store.calls < 2 * len(bad) * 11


async def test_good_batch_is_stored_at_once(pool: Pool) -> None:
    store = NamesStore(pool)

    assert await bisect_batch([(f"n{number}", 1) for number in range(1000)], store.copy) == []
    assert await bisect_batch([], store.copy) == []

    assert store.calls == 1


async def test_key_that_is_taken_blames_no_row(pool: Pool) -> None:
    """Keys are claimed before: something is wrong with the tables."""
    with pytest.raises(asyncpg.UniqueViolationError):
        await bisect_batch([("same", 1), ("same", 2)], NamesStore(pool).insert)


async def test_database_that_is_away_refuses_nobody(pool: Pool) -> None:
    await pool.close()

    with pytest.raises(asyncpg.InterfaceError):
        await bisect_batch([("a", 1), ("b", 2)], NamesStore(pool).insert)
