from collections.abc import AsyncIterator

import pytest
from loanloop_common.kafka import create_topics, make_broker, stop_broker
from loanloop_common.postgres import create_pool
from loanloop_common.settings import KafkaSettings

from tests.integration.cli.world import Operated, running_on
from tests.support.infrastructure import Backend, delete_topics, fresh_database


@pytest.fixture(scope="module")
async def operated(infrastructure: Backend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Operated]:
    """One for all tests of a module: each of them sends events of its own."""
    kafka = infrastructure.kafka_bootstrap
    await delete_topics(kafka)
    await create_topics(kafka)
    folder = tmp_path_factory.mktemp("installation")
    async with fresh_database(infrastructure) as dsn, running_on(folder, kafka=kafka, dsn=dsn):
        pool = await create_pool(dsn, application_name="test")
        broker = make_broker(KafkaSettings(bootstrap_servers=kafka), service="test")
        await broker.connect()
        try:
            yield Operated(infrastructure, dsn, pool, broker, folder)
        finally:
            await infrastructure.stop_services()
            await stop_broker(broker)
            await pool.close()
