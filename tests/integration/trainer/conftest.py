from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from loanloop_common.postgres import create_pool

from tests.integration.trainer.world import TrainerWorld


@pytest.fixture
async def world(database: str, tmp_path: Path) -> AsyncIterator[TrainerWorld]:
    pool = await create_pool(database, application_name="test")
    try:
        yield TrainerWorld(database, pool, tmp_path)
    finally:
        await pool.close()
