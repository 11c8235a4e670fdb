from collections.abc import AsyncIterator

import pytest
from loanloop_common.postgres import create_pool

from tests.integration.evaluator.world import World


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    pool = await create_pool(database, application_name="test")
    try:
        yield World(pool)
    finally:
        await pool.close()
