"""A real service process: how it starts, what it says when it can't, and that no end of it loses a record."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from loanloop_common.events import Topic
from loanloop_common.kafka import Broker, publish_batch

from tests.support.eventually import eventually
from tests.support.infrastructure import Backend
from tests.support.recording import numbered
from tests.support.topics import committed, make_topic, read_all

ROOT = Path(__file__).parents[3]
VALUES = {value.decode() for _, value in numbered(1000)}


class Counting:
    """Processes of the counting service on one database and one topic."""

    def __init__(self, backend: Backend, database: str, topic: str) -> None:
        self.topic = topic
        self.environment = {
            "LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": backend.kafka_bootstrap,
            "LOANLOOP_KAFKA__SESSION_TIMEOUT_MS": "6000",
            "LOANLOOP_POSTGRES__DSN": database,
            "LOANLOOP_TOPIC": topic,
        }
        self.running: list[Process] = []

    async def start(self, **settings: str) -> Process:
        environment = os.environ | self.environment | settings  # noqa: TID251 - a child's environment
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.counting_service", cwd=ROOT, env=environment, stderr=PIPE
        )
        self.running.append(process)
        return process


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE handled (value text PRIMARY KEY)")
    yield connection
    await connection.close()


@pytest.fixture
async def counting(
    infrastructure: Backend, database: str, topics: str, topic_prefix: str, connection: asyncpg.Connection
) -> AsyncIterator[Counting]:
    topic = await make_topic(topics, f"{topic_prefix}loans")
    counting = Counting(infrastructure, database, topic)
    yield counting
    for process in counting.running:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_service_stopped_in_mid_batch_loses_nothing(
    counting: Counting, connection: asyncpg.Connection, broker: Broker
) -> None:
    await publish_batch(broker, counting.topic, numbered(1000))
    first = await counting.start(LOANLOOP_PAUSE_S="0.5", LOANLOOP_MAX_RECORDS="100")
    await eventually(lambda: _handled(connection))

    first.send_signal(signal.SIGINT)
    first.send_signal(signal.SIGTERM)

    assert await asyncio.wait_for(first.wait(), 20) == 0
    handled = await _handled(connection)
    done = await committed(broker.settings.bootstrap_servers, counting.topic, counting.topic)
    assert 0 < done == len(handled) < 1000
    assert await connection.fetchval("SELECT count(*) FROM loan_data.service_instances") == 0

    await counting.start()
    await eventually(lambda: _everything_is_handled(connection))


async def test_service_killed_in_mid_batch_loses_nothing_and_announces_each_record(
    counting: Counting, connection: asyncpg.Connection, broker: Broker, topics: str
) -> None:
    await publish_batch(broker, counting.topic, numbered(1000))
    first = await counting.start(LOANLOOP_PAUSE_S="0.3", LOANLOOP_MAX_RECORDS="100")
    await eventually(lambda: _handled(connection))

    first.kill()
    await first.wait()
    await counting.start()

    await eventually(lambda: _everything_is_handled(connection), within_s=40)
    await eventually(lambda: _outbox_is_empty(connection))
    assert {record.value.decode() for record in await read_all(topics, Topic.ALERT_RAISED)} == VALUES


async def test_heartbeat_shows_the_running_service_and_each_of_its_parts(
    counting: Counting, connection: asyncpg.Connection
) -> None:
    process = await counting.start(LOANLOOP_INSTANCE_ID="one")

    detail = await eventually(
        lambda: connection.fetchval(
            """
            SELECT detail FROM loan_data.service_instances
            WHERE instance_id = 'one' AND pid = $1 AND detail->'parts' = '{"outbox": "looking", "records": "consuming"}'
            """,
            process.pid,
        )
    )
    assert detail


async def test_service_says_of_itself_what_it_does_and_how_fast(
    counting: Counting, connection: asyncpg.Connection, broker: Broker, tmp_path: Path
) -> None:
    await publish_batch(broker, counting.topic, numbered(1000))
    await counting.start(LOANLOOP_INSTANCE_ID="one", LOANLOOP_TELEMETRY__DATA_FOLDER=str(tmp_path))
    await eventually(lambda: _everything_is_handled(connection))
    url = await eventually(
        lambda: connection.fetchval("SELECT url FROM loan_data.service_instances WHERE instance_id = 'one'")
    )

    async with httpx.AsyncClient(base_url=url, timeout=5) as client:
        health = await client.get("/health")
        page = (await eventually(lambda: _page_with(client, b"loanloop_consumer_lag_records{"))).decode()

    assert (health.status_code, health.json()["parts"]) == (200, {"outbox": "looking", "records": "consuming"})
    for begin in (
        'loanloop_consumer_records_total{consumer="records"} 1000.0',
        'loanloop_batch_failures_total{consumer="records"} 0.0',
        'loanloop_part_at_work{part="records"} 1.0',
        'loanloop_db_query_duration_seconds_count{query="instances.beat"}',
        'loanloop_db_query_duration_seconds_count{query="outbox_rows.insert_row"}',
        'loanloop_db_query_duration_seconds_count{query="commit"}',
        'loanloop_db_pool_connections{state="used"} ',
        "loanloop_db_pool_max_connections 8.0",
        "loanloop_event_loop_delay_seconds_count ",
        'loanloop_look_duration_seconds_count{part="outbox-counting",result="ok"}',
        f'loanloop_disk_free_bytes{{folder="{tmp_path}"}} ',
        f'loanloop_consumer_lag_records{{group="{counting.topic}",partition="0",topic="{counting.topic}"}} ',
    ):
        assert f"\n{begin}" in page, begin


async def _page_with(client: httpx.AsyncClient, text: bytes) -> bytes | None:
    page = (await client.get("/metrics")).content
    return page if text in page else None


async def test_database_of_another_portfolio_is_refused_in_one_sentence(
    counting: Counting, connection: asyncpg.Connection
) -> None:
    await connection.execute("INSERT INTO loan_data.installation (portfolio, schema_hash) VALUES ('cars', 'x')")

    process = await counting.start()

    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"this database serves portfolio 'cars'" in said
    assert b"LOANLOOP_PORTFOLIO to the path of the file with name" in said  # no preset has that name
    assert b"Traceback" not in said


async def test_database_of_a_newer_version_is_refused_and_one_of_an_older_is_waited_for(
    counting: Counting, connection: asyncpg.Connection
) -> None:
    (newest,) = await connection.fetchrow("SELECT max(migration_id) FROM _yoyo_migration") or ("",)
    await connection.execute("DELETE FROM _yoyo_migration WHERE migration_id = $1", newest)
    waiting = await counting.start()
    assert waiting.stderr is not None
    line = await asyncio.wait_for(waiting.stderr.readline(), 20)
    assert f"the database lacks the migrations {newest}: stop the services of the older version" in line.decode()

    await connection.execute(
        "INSERT INTO _yoyo_migration (migration_hash, migration_id) VALUES ('x', '9999_from_the_future')"
    )
    assert await asyncio.wait_for(waiting.wait(), 20) == 2
    said = (await waiting.stderr.read()).decode()
    assert f"the migration 9999_from_the_future of a newer loanloop, and this one knows {newest} at most" in said
    assert "Traceback" not in said


async def test_setting_that_is_wrong_is_named(counting: Counting) -> None:
    process = await counting.start(LOANLOOP_KAFKA__MAX_MESSAGE_BYTES="many")

    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"LOANLOOP_KAFKA__MAX_MESSAGE_BYTES" in said
    assert said.count(b"\n") == 1


async def test_service_waits_for_its_infrastructure_and_still_hears_a_signal(counting: Counting) -> None:
    process = await counting.start(LOANLOOP_POSTGRES__DSN="postgresql://nobody@127.0.0.1:1/x")
    assert process.stderr is not None
    line = await asyncio.wait_for(process.stderr.readline(), 20)

    process.send_signal(signal.SIGINT)

    assert b"waiting" in line
    assert b"PostgreSQL" in line
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_part_that_crashes_ends_the_service_with_an_error(counting: Counting) -> None:
    process = await counting.start(LOANLOOP_CRASH="true")

    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert b"ZeroDivisionError" in said
    assert b"crashing crashed" in said


async def _handled(connection: asyncpg.Connection) -> set[str]:
    return {row["value"] for row in await connection.fetch("SELECT value FROM handled")}


async def _everything_is_handled(connection: asyncpg.Connection) -> bool:
    return await _handled(connection) == VALUES


async def _outbox_is_empty(connection: asyncpg.Connection) -> bool:
    return not await connection.fetchval("SELECT EXISTS (SELECT FROM loan_data.outbox)")
