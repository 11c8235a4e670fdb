"""Nothing outlives its parent, and a second start continues where the first one was."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from loanloop.runtime.data_directory import running_state
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.ports import ANY_FREE
from loanloop.runtime.problems import CannotRun

from tests.support.eventually import eventually

pytestmark = pytest.mark.embedded

TOPIC = "kept"
GONE_WITHIN_S = 10


async def start_program(folder: Path) -> Process:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.installation_program", str(folder), stdout=PIPE
    )
    assert program.stdout
    line = await program.stdout.readline()
    assert line, "the program ended before it was ready"
    return program


async def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, GONE_WITHIN_S)
    return alive


async def descendants(program: Process) -> list[psutil.Process]:
    """With both of the careless child, which may be a shell for a while yet."""

    def all_of_them() -> list[psutil.Process] | None:
        found = psutil.Process(program.pid).children(recursive=True)
        names = [process.name() for process in found]
        return found if {"java", "postgres"} <= set(names) and names.count("sleep") == 2 else None

    return await eventually(all_of_them)


async def store_row(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
    await connection.close()


async def store_message(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        # Long past: an event's own old time must not let retention delete it.
        await producer.send_and_wait(TOPIC, b"forty-two", timestamp_ms=1_000_000_000_000)


async def test_a_killed_parent_leaves_no_process_and_the_next_start_continues(tmp_path: Path) -> None:
    program = await start_program(tmp_path)
    run = running_state(tmp_path)
    assert run is not None
    await store_row(run.postgres_dsn())
    await store_message(run.kafka_bootstrap)
    processes = await descendants(program)

    program.send_signal(signal.SIGKILL)
    await program.wait()

    assert await still_running(processes) == []
    assert running_state(tmp_path) is None
    async with EmbeddedInfrastructure(tmp_path, ports=ANY_FREE) as again:
        connection = await asyncpg.connect(again.postgres_dsn)
        assert await connection.fetchval("SELECT n FROM kept") == 42
        await connection.close()
        async with AIOKafkaConsumer(
            TOPIC, bootstrap_servers=again.kafka_bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            assert (await asyncio.wait_for(consumer.getone(), 20)).value == b"forty-two"


async def test_the_supervisor_killed_with_its_parent_leaves_no_server(tmp_path: Path) -> None:
    program = await start_program(tmp_path)
    run = running_state(tmp_path)
    assert run is not None
    processes = await descendants(program)
    servers = [process for process in processes if process.name() in ("java", "postgres")]

    program.send_signal(signal.SIGKILL)
    psutil.Process(run.pids["supervisor"]).kill()
    await program.wait()

    assert await still_running(servers) == []
    for detached in processes:  # only the supervisor could have found it
        if detached.is_running():
            detached.kill()


async def test_a_second_start_on_a_folder_in_use_says_so(tmp_path: Path) -> None:
    program = await start_program(tmp_path)
    try:
        with pytest.raises(CannotRun, match=f"already runs on {tmp_path} .process {program.pid}"):
            async with EmbeddedInfrastructure(tmp_path, ports=ANY_FREE):
                pass
    finally:
        program.kill()
        await program.wait()


async def test_folders_of_any_name_run_side_by_side_readable_by_their_owner_alone(tmp_path: Path) -> None:
    odd, given = tmp_path / 'Größe, "o\'ne"', tmp_path / "given"
    given.mkdir(mode=0o755)
    async with (
        EmbeddedInfrastructure(odd, ports=ANY_FREE) as one,
        EmbeddedInfrastructure(given, ports=ANY_FREE) as two,
    ):
        assert one.kafka_bootstrap != two.kafka_bootstrap
        for installation in (one, two):
            await store_row(installation.postgres_dsn)
            await store_message(installation.kafka_bootstrap)
    assert sorted(os.listdir(tmp_path)) == sorted([odd.name, given.name])  # noqa: PTH208 - as in the refusals
    assert (given / "kafka" / "data" / f"{TOPIC}-0").is_dir()
    assert [path for path in given.rglob("*.log") if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_up_stops_everything_at_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    up = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loanloop", "up", "--data-dir", str(tmp_path), stdout=PIPE
    )
    assert up.stdout
    async for line in up.stdout:
        if b"starting ingest" in line:
            break
    processes = psutil.Process(up.pid).children(recursive=True)

    up.send_signal(number)
    output = await up.stdout.read()

    assert await up.wait() == 0
    assert b"everything is kept" in output
    assert await still_running(processes) == []
