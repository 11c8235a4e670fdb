"""What `loanloop restore` brings back, refuses, and leaves where it is killed."""

import asyncio
import signal

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from loanloop.backups.manifest import read_manifest
from loanloop.backups.session import connect
from loanloop_common.events import Topic
from loanloop_common.kafka import create_topics
from loanloop_common.postgres import known_migrations, migrate

from tests.integration.cli.backup_site import ADD_UNDECIDED, BEGIN, FILL, Site
from tests.support.eventually import eventually
from tests.support.infrastructure import delete_topics

TEN = [str(offset) for offset in range(1, 11)]
LOANS = [TopicPartition(Topic.LOAN_RECEIVED, partition) for partition in range(4)]


async def test_groups_go_back_to_where_they_were_when_the_backup_was_taken(site: Site) -> None:
    await site.commit("ingest", {LOANS[0]: 0, LOANS[1]: 17})
    backup = await site.back_up()
    await site.commit("ingest", {LOANS[0]: 40, LOANS[1]: 41, LOANS[2]: 42})

    async with site.empty_database() as dsn:
        answer = await site.restore(backup, dsn)

        assert answer.code == 0, answer.err
        assert await site.committed("ingest", *LOANS) == [0, 17, 0, 0]
        assert await site.content("raw_data", dsn=dsn) == await site.content("raw_data", dsn=site.dsn)
        assert await site.content("model_metadata", dsn=dsn) == await site.content("model_metadata", dsn=site.dsn)


async def test_of_a_topic_that_was_made_anew_the_start_is_taken_and_what_it_lacks_is_said(site: Site) -> None:
    await site.execute(ADD_UNDECIDED)
    await site.commit("ingest", {LOANS[1]: 17})
    backup = await site.back_up()
    await delete_topics(site.infrastructure.kafka_bootstrap)
    await create_topics(site.infrastructure.kafka_bootstrap)
    await site.commit("ingest", {LOANS[1]: 5})

    async with site.empty_database() as dsn:
        answer = await site.restore(backup, dsn)

        assert answer.code == 0, answer.err
        assert await site.committed("ingest", *LOANS) == [0, 0, 0, 0]
        assert "This Kafka has none of the messages of then." in answer.err
        assert ", and the 1 stored loan without a decision: each loan is stored and decided once" in answer.err


async def test_restore_refuses_what_is_not_empty_and_leaves_it_as_it_is(site: Site) -> None:
    backup = await site.back_up()

    answer = await site.restore(backup, site.dsn)

    assert (answer.code, answer.out) == (1, b"")
    assert "Error: the database is not empty (loan_data.model_metadata has rows)" in answer.err
    assert len(await site.content("raw_data", dsn=site.dsn)) == 1000
    await site.infrastructure.start_service("ingest", **site.settings)
    assert await eventually(lambda: site.content("service_instances", dsn=site.dsn), within_s=60)


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL])
async def test_a_look_at_a_full_database_that_is_broken_off_lets_nobody_delete_it(
    site: Site, ended_by: signal.Signals
) -> None:
    backup = await site.back_up()
    rows = await site.content("raw_data", dsn=site.dsn)
    looking = """
        SELECT EXISTS (
            SELECT FROM pg_stat_activity WHERE application_name = 'loanloop-restore' AND wait_event = 'relation'
        )
    """
    holding, watching = await asyncpg.connect(site.dsn), await asyncpg.connect(site.dsn)
    try:
        async with holding.transaction():
            await holding.execute("LOCK TABLE loan_data.alerts IN ACCESS EXCLUSIVE MODE")
            await site.killed_once("restore", str(backup), when=lambda: watching.fetchval(looking), by=ended_by)
    finally:
        await asyncio.gather(holding.close(), watching.close())
    again = await site.restore(backup, site.dsn)

    assert again.code == 1
    assert "Error: the database is not empty (loan_data.model_metadata has rows)" in again.err
    assert await site.content("raw_data", dsn=site.dsn) == rows
    await site.infrastructure.start_service("ingest", **site.settings)


async def test_restore_waits_for_no_service_that_still_consumes(site: Site) -> None:
    backup = await site.back_up()
    bootstrap = site.infrastructure.kafka_bootstrap
    async with (
        AIOKafkaConsumer(Topic.LOAN_RECEIVED, group_id="predictor", bootstrap_servers=bootstrap) as consumer,
        site.empty_database() as dsn,
    ):
        await eventually(consumer.assignment)

        answer = await site.restore(backup, dsn)

    assert answer.code == 1
    assert "Kafka's group predictor has members: stop the services" in answer.err


async def test_a_backup_of_an_older_schema_is_brought_up_to_date(site: Site) -> None:
    older = known_migrations()[:8]
    async with site.empty_database() as old, site.empty_database() as new:
        await migrate(old, only=older)
        connection = await asyncpg.connect(site.dsn)
        hash_ = await connection.fetchval("SELECT schema_hash FROM loan_data.installation")
        await connection.close()
        await site.execute(BEGIN, hash_, dsn=old)
        await site.execute(FILL, len(TEN), dsn=old)
        key = "INSERT INTO loan_data.event_keys (event_id, payload_sha256) SELECT event_id, '' FROM loan_data.raw_data"
        await site.execute(key, dsn=old)
        backup = await site.back_up(dsn=old)
        await migrate(new)

        assert read_manifest(backup).migrations == older
        restored = await site.restore(backup, new)

        assert restored.code == 0, restored.err
        assert f"{len(known_migrations()) - 8} newer migrations applied" in restored.err
        # The ninth fills in where each event lay, in the last column.
        assert {row.rstrip(")").split(",")[-1] for row in await site.content("event_keys", dsn=new)} == set(TEN)


async def test_a_backup_of_a_newer_schema_is_refused(site: Site) -> None:
    await site.execute(
        "INSERT INTO _yoyo_migration (migration_hash, migration_id) VALUES ('x', '9999_from_the_future')"
    )
    backup = await site.back_up()

    async with site.empty_database() as dsn:
        answer = await site.restore(backup, dsn)

    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith(
        "Error: the backup has schema version 9999_from_the_future and this loanloop knows"
    )


async def test_a_killed_restore_lets_no_service_start_and_is_begun_again(site: Site) -> None:
    await site.execute(FILL, 300_000)
    backup = await site.back_up()
    async with site.empty_database() as dsn:

        async def loading() -> bool:
            connection = await asyncpg.connect(dsn)
            try:
                return bool(
                    await connection.fetchval(
                        "SELECT EXISTS (SELECT FROM pg_stat_progress_copy WHERE tuples_processed > 10000)"
                    )
                )
            finally:
                await connection.close()

        await site.killed_once("restore", str(backup), when=loading, LOANLOOP_POSTGRES__DSN=dsn)
        ingest = await site.infrastructure.start_service("ingest", **site.settings | {"LOANLOOP_POSTGRES__DSN": dsn})
        code = await asyncio.wait_for(ingest.wait(), 60)
        said = site.infrastructure.log_of("ingest").read_text()
        again = await site.restore(backup, dsn)

        assert code == 2
        assert "a restore into this database has not ended" in said
        assert again.code == 0, again.err
        assert len(await site.content("raw_data", dsn=dsn)) == 301_000
        assert await site.content("model_metadata", dsn=dsn) == await site.content("model_metadata", dsn=site.dsn)
        await site.infrastructure.start_service("ingest", **site.settings | {"LOANLOOP_POSTGRES__DSN": dsn})
        assert await eventually(lambda: site.content("service_instances", dsn=dsn), within_s=60)


async def test_a_restore_shows_itself_to_postgresql_as_what_it_is(site: Site) -> None:
    connection = await connect(site.dsn, application_name="restore")
    try:
        asked = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        assert await connection.fetchval(asked) == "loanloop-restore"
    finally:
        await connection.close()
