"""Services on a Kafka and a PostgreSQL that were there before, and stay."""

from pathlib import Path

import asyncpg
from loanloop.runtime.data_directory import running_state
from loanloop.runtime.foreground import prepare
from loanloop.runtime.infrastructure import GivenInfrastructure
from loanloop.runtime.ports import ANY_FREE

from tests.support.eventually import eventually
from tests.support.infrastructure import Backend


async def running_services(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT service FROM loan_data.service_instances")
    finally:
        await connection.close()
    return [row["service"] for row in rows]


async def test_a_service_runs_on_a_given_kafka_and_postgres(
    infrastructure: Backend, database: str, topics: str, tmp_path: Path
) -> None:
    async with GivenInfrastructure(tmp_path, kafka=topics, postgres=database, ports=ANY_FREE) as given:
        chosen = await prepare(given, "sba", print)
        await given.start_service("ingest", LOANLOOP_PORTFOLIO=chosen.name)

        assert await eventually(lambda: running_services(database), within_s=60) == ["ingest"]

        run = running_state(tmp_path)
        assert run is not None
        assert run.postgres_dsn() == database
        assert set(run.pids) == {"ingest", "supervisor"}

    assert await running_services(database) == []
