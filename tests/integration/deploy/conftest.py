from collections.abc import AsyncIterator

import pytest
from loanloop_common.postgres import Pool, create_pool


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test")
    try:
        yield pool
    finally:
        await pool.close()
