from collections.abc import AsyncIterator

import pytest
from loanloop_common.kafka import make_broker, stop_broker
from loanloop_common.postgres import create_pool
from loanloop_common.settings import KafkaSettings

from tests.integration.ingest.world import World
from tests.support.infrastructure import Backend


@pytest.fixture
async def world(infrastructure: Backend, database: str, topics: str) -> AsyncIterator[World]:
    pool = await create_pool(database, application_name="test")
    broker = make_broker(KafkaSettings(bootstrap_servers=topics), service="test")
    await broker.connect()
    try:
        yield World(infrastructure, database, pool, broker)
    finally:
        await infrastructure.stop_services()
        await stop_broker(broker)
        await pool.close()
