"""Partitions on a real database."""

from collections.abc import AsyncIterator

import pytest
from loanloop_common.partitions import partitions_ahead
from loanloop_common.postgres import Pool, create_pool


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test")
    yield pool
    await pool.close()


async def partitions_of(pool: Pool) -> set[str]:
    rows = await pool.fetch(
        """
        SELECT inhrelid::regclass::text AS name FROM pg_inherits
        WHERE inhparent IN ('loan_data.raw_data'::regclass, 'loan_data.predictions'::regclass)
        """
    )
    return {row["name"] for row in rows}


async def test_partitions_that_are_missing_are_there_before_a_service_goes_on(pool: Pool) -> None:
    expected = await partitions_of(pool)
    for name in expected:
        await pool.execute(f"DROP TABLE {name} CASCADE")

    await partitions_ahead(pool)

    assert len(expected) == 8
    assert await partitions_of(pool) == expected
