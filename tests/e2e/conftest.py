from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from loanloop_common.kafka import make_broker, stop_broker
from loanloop_common.postgres import create_pool
from loanloop_common.settings import KafkaSettings

from tests.e2e.world import World
from tests.support.infrastructure import Backend
from tests.support.tiny_portfolio import write_tiny_portfolio


@pytest.fixture
async def world(infrastructure: Backend, database: str, topics: str, tmp_path: Path) -> AsyncIterator[World]:
    pool = await create_pool(database, application_name="test")
    broker = make_broker(KafkaSettings(bootstrap_servers=topics), service="test")
    await broker.connect()
    portfolio = write_tiny_portfolio(tmp_path, epochs=6, learning_rate=1e-2)
    try:
        yield World(infrastructure, database, pool, broker, portfolio)
    finally:
        await infrastructure.stop_services()
        await stop_broker(broker)
        await pool.close()
