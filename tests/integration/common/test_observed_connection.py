"""Statements are timed under their names, on a real database."""

import io
from collections.abc import AsyncIterator

import asyncpg
import pytest
from loanloop_common.instances import IS_RUNNING, fetch_is_running
from loanloop_common.postgres import Pool, create_pool
from loanloop_common.telemetry import REGISTRY


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test", max_size=1)
    yield pool
    await pool.close()


def seen(query: str) -> tuple[float, float]:
    """How often it was timed, and how often it failed."""
    names = ("loanloop_db_query_duration_seconds_count", "loanloop_db_query_errors_total")
    timed, failed = (REGISTRY.get_sample_value(name, {"query": query}) or 0.0 for name in names)
    return timed, failed


async def test_each_way_to_run_a_statement_is_seen_once(pool: Pool) -> None:
    (before, _) = seen("instances.is_running")

    await fetch_is_running(pool, service="ingest")
    await pool.fetch(IS_RUNNING, "ingest", 1.0)
    await pool.fetchrow(IS_RUNNING, "ingest", 1.0)
    await pool.execute(IS_RUNNING, "ingest", 1.0)
    await pool.executemany(IS_RUNNING, [("ingest", 1.0), ("trainer", 1.0)])
    await pool.copy_from_query(IS_RUNNING, "ingest", 1.0, output=io.BytesIO())

    assert seen("instances.is_running") == (before + 6, 0)


async def test_statement_that_fails_is_counted_and_its_transaction_with_it(pool: Pool) -> None:
    (other, failed), (rolled_back, _) = seen("other"), seen("rollback")

    with pytest.raises(asyncpg.UndefinedTableError):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM nothing_of_ours")

    assert seen("other") == (other + 1, failed + 1)
    assert seen("rollback") == (rolled_back + 1, 0)


async def test_copy_is_seen_by_its_table(pool: Pool) -> None:
    before, _ = seen("copy.data_quality")
    columns = ("day", "field", "n_loans", "n_missing")

    with pytest.raises(asyncpg.NotNullViolationError):
        await pool.copy_records_to_table(
            "data_quality", schema_name="loan_data", columns=columns, records=[(None, "bank", 1, 1)]
        )

    assert seen("copy.data_quality") == (before + 1, 1)
