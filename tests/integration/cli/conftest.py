from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from loanloop_common.events import Topic
from loanloop_common.kafka import create_topics, make_broker, stop_broker
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import create_pool
from loanloop_common.settings import KafkaSettings
from loanloop_ingest.store.collected_files import CollectedFileStore, RefusedFileRow

from tests.integration.cli.backup_site import ADD_MODEL, BEGIN, FILL, MODEL, Site
from tests.integration.cli.bad_events import BAD_OUTCOME, FILE, KEYED, UNKEYED
from tests.integration.cli.world import Operated, running_on
from tests.support.infrastructure import Backend, delete_topics, fresh_database
from tests.support.loans import make_loan


@pytest.fixture(scope="module")
async def world(infrastructure: Backend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Operated]:
    """One for all tests of a module, in which all bad events were refused: each test replays others of them."""
    kafka = infrastructure.kafka_bootstrap
    await delete_topics(kafka)
    await create_topics(kafka)
    folder = tmp_path_factory.mktemp("installation")
    async with fresh_database(infrastructure) as dsn, running_on(folder, kafka=kafka, dsn=dsn):
        pool = await create_pool(dsn, application_name="test")
        broker = make_broker(KafkaSettings(bootstrap_servers=kafka), service="test")
        await broker.connect()
        try:
            world = Operated(infrastructure, dsn, pool, broker, folder)
            await have_all_refused(world)
            yield world
        finally:
            await infrastructure.stop_services()
            await stop_broker(broker)
            await pool.close()


async def have_all_refused(world: Operated) -> None:
    await world.pool.execute("ALTER TABLE loan_data.processed_data ADD CONSTRAINT no_4 CHECK (loan_id <> 'loan-4')")
    await world.produce([make_loan(10), *(bad.payload for bad in KEYED)])
    await world.produce([bad.payload for bad in UNKEYED], keyed=False)
    await world.produce([BAD_OUTCOME.payload], Topic.LOAN_OUTCOME)
    await world.start_ingest()
    files = CollectedFileStore(world.pool)
    await files.claim(b"\x01", "loans.csv", 17)
    row = RefusedFileRow(FILE, 17, "term_months", "must be a number", "row 17", b"{}")
    await files.advance(b"\x01", 17, 0, [row])
    await world.consumed(1, Topic.LOAN_OUTCOME)
    await world.settled()


@pytest.fixture
async def site(infrastructure: Backend, database: str, topics: str, tmp_path: Path) -> Site:
    assert topics == infrastructure.kafka_bootstrap
    site = Site(infrastructure, database, tmp_path)
    await site.execute(BEGIN, load_portfolio("sba").schema_hash)
    await site.execute(FILL, 1000)
    await site.execute(ADD_MODEL, 1, MODEL, MODEL)
    return site
