"""A backup is taken while loans flow, the original is destroyed, and a new installation goes on without a loss."""

import asyncio
import json
import sys
import uuid
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from loanloop.backups.manifest import read_manifest
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.ports import ANY_FREE
from loanloop.runtime.problems import CannotRun
from loanloop_common.events import Topic
from loanloop_common.kafka import make_broker, stop_broker
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import create_pool
from loanloop_common.settings import KafkaSettings

from tests.e2e.test_kills import all_stored, counts, stream
from tests.e2e.world import QUICK, World, loans
from tests.integration.cli.world import Answer, loanloop
from tests.support.eventually import eventually
from tests.support.topics import committed

pytestmark = pytest.mark.timeout(600)

# What is only ever added to: each of its rows in a backup is one of the original's.
APPENDED = ("event_keys", "raw_data", "decision_keys", "predictions", "training_rows", "model_metadata", "deployments")


async def command(world: World, *arguments: str, **settings: str) -> Answer:
    kafka = {"LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": world.infrastructure.kafka_bootstrap}
    answer = await loanloop(*arguments, data_dir=world.portfolio.parent, **world.settings | kafka | settings)
    assert answer.code == 0, answer.err
    return answer


async def rows_by_table(dsn: str) -> dict[str, list[str]]:
    """Every value of every row, generated columns and what sequences give next included."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT relname, CASE relkind WHEN 'S' THEN '(last_value, is_called)' ELSE 't' END FROM pg_class"
            " WHERE relnamespace = 'loan_data'::regnamespace AND relkind IN ('r', 'p', 'S') AND NOT relispartition"
            " AND relname <> 'service_instances'"
        )
        content = {}
        for name, row in tables:
            rows = await connection.fetch(f'SELECT {row}::text AS row FROM loan_data."{name}" AS t')
            content[name] = sorted(row["row"] for row in rows)
        return content
    finally:
        await connection.close()


@asynccontextmanager
async def new_database(world: World) -> AsyncIterator[str]:
    """Without any schema."""
    name = f"restored_{uuid.uuid4().hex[:8]}"
    connection = await asyncpg.connect(world.dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    yield world.dsn.removesuffix(urlsplit(world.dsn).path) + f"/{name}"


async def backed_up_in_midstream(world: World, folder: Path, *, first: int) -> tuple[Path, list[str]]:
    """The backup, and the loans sent before, while and after it was taken."""
    enough = asyncio.Event()
    streaming = asyncio.create_task(stream(world, first=first, until=enough))
    await asyncio.sleep(1)
    answer = await command(world, "backup", "--to", str(folder), "--json")
    await asyncio.sleep(1)
    enough.set()
    new = await streaming
    await world.decided([loan.event_id for loan in new])
    return Path(json.loads(answer.out)["path"]), [loan.event_id for loan in new]


async def test_no_loan_is_lost_when_the_database_is_destroyed_and_restored_and_again_on_a_new_broker(
    world: World, tmp_path: Path
) -> None:
    await world.start()
    history = await world.first_model()
    backup, sent = await backed_up_in_midstream(world, tmp_path / "backups", first=len(history))
    await world.infrastructure.stop_services()
    original = await rows_by_table(world.dsn)

    async with new_database(world) as dsn:
        await world.pool.execute("DROP SCHEMA loan_data CASCADE")
        await command(world, "restore", str(backup), LOANLOOP_POSTGRES__DSN=dsn)
        restored = await rows_by_table(dsn)

        manifest = read_manifest(backup)
        assert {table.name: table.n_rows for table in manifest.tables} == {
            name: len(rows) for name, rows in restored.items() if not name.endswith("_seq")
        }
        assert {name for name in APPENDED if not set(restored[name]) <= set(original[name])} == set()
        assert restored["model_metadata"] == original["model_metadata"]
        assert len(history) < len(restored["raw_data"]) < len(original["raw_data"]) == len(history) + len(sent)

        await on_with_it(world, dsn, len(history), sent)
        await is_the_same_elsewhere(world, dsn, tmp_path, first=len(history) + len(sent))


async def on_with_it(world: World, dsn: str, n_history: int, sent: list[str]) -> None:
    """The services on the restored database: all there is in Kafka is stored and decided once."""
    pool = await create_pool(dsn, application_name="test")
    restored = World(world.infrastructure, dsn, pool, world.broker, world.portfolio)
    try:
        await restored.start()
        await restored.decided(sent)
        await eventually(lambda: all_stored(restored, n_history + len(sent)), within_s=60)
        assert await counts(restored) == {
            "stored": n_history + len(sent),
            "stored twice": 0,
            "decided": len(sent),
            "decided twice": 0,
            "rejected": 0,
        }
    finally:
        await world.infrastructure.stop_services()
        await pool.close()


async def is_the_same_elsewhere(world: World, dsn: str, folder: Path, *, first: int) -> None:
    """Restored with a Kafka and a PostgreSQL of its own, to the last bit, it decides the next loans."""
    original = await rows_by_table(dsn)
    answer = await command(world, "backup", "--to", str(folder / "backups"), "--json", LOANLOOP_POSTGRES__DSN=dsn)

    backup = json.loads(answer.out)["path"]
    await killed_as_its_servers_start(backup, folder / "new")
    with pytest.raises(CannotRun, match="was broken off: run it again"):
        async with EmbeddedInfrastructure(folder / "new", ports=ANY_FREE):
            pass

    restored = await loanloop("restore", backup, data_dir=folder / "new")

    assert restored.code == 0, restored.err
    async with EmbeddedInfrastructure(folder / "new", ports=ANY_FREE) as installation:
        assert await rows_by_table(installation.postgres_dsn) == original
        assert await committed(installation.kafka_bootstrap, "ingest", Topic.LOAN_RECEIVED) == 0
        assert installation.begun is not None
        assert load_portfolio(installation.portfolio) == load_portfolio(world.portfolio)
        await decides_anew(installation, first=first)


async def killed_as_its_servers_start(backup: str, data_dir: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loanloop", "restore", backup, "--data-dir", str(data_dir), stderr=PIPE
    )
    assert process.stderr
    said = ""
    while "starting Kafka and PostgreSQL" not in said:
        said = (await process.stderr.readline()).decode()
        assert said, "it ended by itself"
    process.kill()
    await process.communicate()


async def decides_anew(installation: EmbeddedInfrastructure, *, first: int) -> None:
    broker = make_broker(KafkaSettings(bootstrap_servers=installation.kafka_bootstrap), service="test")
    await broker.connect()
    pool = await create_pool(installation.postgres_dsn, application_name="test")
    try:
        for service in ("ingest", "predictor"):
            await installation.start_service(service, LOANLOOP_PORTFOLIO=installation.portfolio, **QUICK)
        there = World(installation, installation.postgres_dsn, pool, broker, Path(installation.portfolio))
        await there.decide(loans(20, first=first))
        await eventually(lambda: all_stored(there, first + 40), within_s=60)
    finally:
        await installation.stop_services()
        await stop_broker(broker)
        await pool.close()
