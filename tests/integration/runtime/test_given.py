"""Services on a Kafka and a PostgreSQL that were there before, and stay."""

from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from loanloop.runtime.data_directory import running_state
from loanloop.runtime.foreground import prepare
from loanloop.runtime.infrastructure import GivenInfrastructure
from loanloop.runtime.ports import ANY_FREE
from loanloop_common.errors import LoanloopError, Unavailable
from loanloop_common.postgres import known_migrations, migrate

from tests.support.eventually import eventually
from tests.support.infrastructure import Backend

DEAD_KAFKA = "127.0.0.1:1"


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


async def refusal(folder: Path, *, kafka: str, postgres: str) -> str:
    with pytest.raises(LoanloopError) as refused:
        async with GivenInfrastructure(folder, kafka=kafka, postgres=postgres, ports=ANY_FREE) as given:
            await prepare(given, "sba", print)
    return str(refused.value)


def changed(dsn: str, **parts: str) -> str:
    """`dsn` with another user, password, host, port or name of the database."""
    url = urlsplit(dsn)
    known = {
        "user": url.username,
        "password": url.password,
        "host": url.hostname,
        "port": url.port,
        "name": url.path[1:],
    } | parts
    return "postgresql://{user}:{password}@{host}:{port}/{name}".format(**known)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"password": "wrong-one"}, "password authentication failed"),
        ({"name": "absent"}, 'database "absent" does not exist'),
        ({"port": "1"}, "port 1 failed: Connection refused"),
        ({"host": "nowhere.invalid"}, "nowhere.invalid"),
        ({"port": "http"}, "it must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
    ],
)
async def test_a_postgres_that_cannot_be_had(database: str, tmp_path: Path, parts: dict[str, str], said: str) -> None:
    dsn = changed(database, **parts)

    sentence = await refusal(tmp_path, kafka=DEAD_KAFKA, postgres=dsn)

    assert said in sentence
    assert str(urlsplit(dsn).password) not in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("migrated", [True, False])
async def test_an_account_without_rights(database: str, tmp_path: Path, migrated: bool) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD 'guest'")
    if not migrated:
        await connection.execute("DROP SCHEMA public CASCADE; DROP SCHEMA loan_data CASCADE; CREATE SCHEMA public")
    await connection.close()

    sentence = await refusal(tmp_path, kafka=DEAD_KAFKA, postgres=changed(database, user="guest", password="guest"))

    assert "permission denied" in sentence
    assert "owner" in sentence
    assert "\n" not in sentence


async def test_migrations_go_on_after_a_killed_process(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 4711)")
    await connection.close()

    assert await migrate(database) == 0


CHANGES_A_TABLE = "0014_requested_by"
# As a transaction that has read each of them.
READ_ALL_TABLES = """
    DO $$ BEGIN
        EXECUTE (SELECT 'LOCK TABLE ' || string_agg(oid::regclass::text, ', ') || ' IN ACCESS SHARE MODE'
                 FROM pg_class WHERE relnamespace = 'loan_data'::regnamespace AND relkind IN ('r', 'p'));
    END $$
"""


async def test_a_migration_waits_for_a_table_that_is_in_use_no_longer_than_everybody_can(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loanloop_common.postgres._TABLE_WITHIN_S", 0.2)
    connection = await asyncpg.connect(database)
    await connection.execute("DROP SCHEMA public CASCADE; DROP SCHEMA loan_data CASCADE; CREATE SCHEMA public")
    known = known_migrations()
    earlier = known[: known.index(CHANGES_A_TABLE)]
    assert await migrate(database, only=earlier) == len(earlier)

    async with connection.transaction():
        await connection.execute(READ_ALL_TABLES)
        with pytest.raises(Unavailable, match=r"another transaction.* run this again"):
            await migrate(database)
    await connection.close()

    assert await migrate(database) == len(known) - len(earlier)


async def test_a_kafka_that_does_not_answer(database: str, tmp_path: Path) -> None:
    assert DEAD_KAFKA in await refusal(tmp_path, kafka=DEAD_KAFKA, postgres=database)
