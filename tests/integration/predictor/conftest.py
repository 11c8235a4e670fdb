from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from loanloop_common.kafka import create_topics, make_broker, stop_broker
from loanloop_common.postgres import create_pool
from loanloop_common.settings import KafkaSettings

from tests.integration.predictor.world import World
from tests.support.infrastructure import Backend, delete_topics, fresh_database


@pytest.fixture
async def world(infrastructure: Backend, database: str, topics: str) -> AsyncIterator[World]:
    assert topics == infrastructure.kafka_bootstrap
    async with _connected(infrastructure, database) as world:
        yield world


@pytest.fixture(scope="module")
async def shared_world(infrastructure: Backend) -> AsyncIterator[World]:
    """For tests that leave nothing behind which another of the module would mind."""
    await delete_topics(infrastructure.kafka_bootstrap)
    await create_topics(infrastructure.kafka_bootstrap)
    async with fresh_database(infrastructure) as dsn, _connected(infrastructure, dsn) as world:
        yield world


@asynccontextmanager
async def _connected(infrastructure: Backend, dsn: str) -> AsyncIterator[World]:
    pool = await create_pool(dsn, application_name="test")
    broker = make_broker(KafkaSettings(bootstrap_servers=infrastructure.kafka_bootstrap), service="test")
    await broker.connect()
    try:
        yield World(infrastructure, dsn, pool, broker)
    finally:
        await infrastructure.stop_services()
        await stop_broker(broker)
        await pool.close()
