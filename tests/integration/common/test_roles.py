"""The services' roles in the database: what each may write, and who makes its partitions."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from loanloop.main import app
from loanloop_common.postgres import create_pool, grant_roles
from loanloop_ingest.store.loans import LoanStore
from typer.testing import CliRunner

from tests.support.arrivals import READER, arrive
from tests.support.dashboards import boards, fill_in
from tests.support.database_users import as_user, dsn_of_reader, make_user
from tests.support.infrastructure import Backend, database_name
from tests.support.loans import make_loan
from tests.support.outcomes import make_outcome

SERVICES = ("ingest", "predictor", "trainer", "evaluator")
PAGE = (Path(__file__).parents[3] / "docs" / "architecture.md").read_text()
# What its writer need not: DELETE is granted where rows go, and nowhere else.
DELETED_FROM = {"outbox", "service_instances"}
WITHHELD = {"outbox", "training_rows"}  # from whoever only reads
OF_COLUMNS = "'SELECT', 'INSERT', 'UPDATE', 'REFERENCES'"


def documented_writers() -> Iterator[tuple[str, set[str]]]:
    (table,) = re.findall(r"\| table \| writer \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE)
    for line in table.splitlines():
        names, writer = line.strip("| ").split(" | ", 1)
        of = set(SERVICES) if "each service" in writer or "the service" in writer else {re.split(r"\W", writer)[0]}
        for name in names.split(", "):
            yield name, of


@pytest.fixture
async def granted(database: str) -> AsyncIterator[asyncpg.Connection]:
    assert await grant_roles(database) == []
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def test_each_service_may_write_the_tables_that_the_architecture_names_and_no_other(
    granted: asyncpg.Connection,
) -> None:
    tables = {row[0] for row in await granted.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'loan_data'::regnamespace AND relkind IN ('r', 'p', 'v')"
    )}  # fmt: skip
    partitions = {row[0] for row in await granted.fetch("SELECT relname FROM pg_class WHERE relispartition")}
    writers = dict(documented_writers())
    assert set(writers) <= tables
    for table in sorted(tables):
        for service in (*SERVICES, "backup", "reader"):
            may = await rights(granted, f"loanloop_{service}", table)
            writes = may - {"SELECT"}
            # Who may read a partition by its own name reads all of its columns.
            is_withheld = service == "reader" and table in WITHHELD | partitions
            assert ("SELECT" in may) != is_withheld, (service, table)
            assert ("INSERT" in writes) == (service in writers.get(table, set())), (service, table, may)
            assert writes <= {"INSERT", "UPDATE", "DELETE"}
            assert not writes or "INSERT" in writes
            assert ("DELETE" in writes) <= (table in DELETED_FROM), (service, table)


async def rights(connection: asyncpg.Connection, role: str, table: str) -> set[str]:
    """To all of the table or to columns of it."""
    query = f"""
        SELECT kind FROM unnest($3::text[]) AS kind WHERE has_table_privilege($1, $2, kind)
        OR CASE WHEN kind IN ({OF_COLUMNS}) THEN has_any_column_privilege($1, $2, kind) END
    """
    kinds = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
    return {row[0] for row in await connection.fetch(query, role, f"loan_data.{table}", kinds)}


async def test_whoever_only_reads_sees_no_message_as_it_came_and_no_bytes_of_a_model(
    granted: asyncpg.Connection,
) -> None:
    reads = "SELECT has_column_privilege($1, $2, $3, 'SELECT')"
    for withheld in (
        *("raw_data.payload", "rejected.payload", "rejected.message_key", "outbox.payload", "predictions.features"),
        *("model_metadata.bundle", "training_runs.checkpoint"),
    ):
        table, column = withheld.split(".")
        assert not await granted.fetchval(reads, "loanloop_reader", f"loan_data.{table}", column)
        assert await granted.fetchval(reads, "loanloop_backup", f"loan_data.{table}", column)


async def test_whoever_only_reads_may_ask_what_the_boards_ask(database: str) -> None:
    """EXPLAIN checks the rights; that each answers with data: tests/e2e/test_dashboards.py."""
    reader = await asyncpg.connect(await dsn_of_reader(database))
    try:
        for board in boards():
            values = {
                variable["name"]: (variable.get("current") or {}).get("value") or "x" for variable in board.variables
            }
            asked = [query.text for query in board.queries if query.source == "loanloop-postgres"]
            asked += [variable["query"] for variable in board.variables if variable["type"] == "query" and asked]
            for text in asked:
                await reader.execute("EXPLAIN " + fill_in(text, values, board.time_range(datetime.now(UTC))))
    finally:
        await reader.close()


async def test_what_is_done_is_kept_with_the_login_whatever_name_is_given(
    granted: asyncpg.Connection, database: str
) -> None:
    await make_user(granted, "desk", "loanloop_operator")
    await granted.execute("INSERT INTO loan_data.rejected (service, topic, kafka_partition, kafka_offset, reason, "
        "message, payload, payload_bytes, payload_sha256) VALUES ('ingest', 't', 0, 0, 'r', 'm', '', 0, '')"
    )  # fmt: skip
    operator = await asyncpg.connect(as_user(database, "desk"))
    try:
        await operator.execute(
            "INSERT INTO loan_data.training_runs (trigger, portfolio, seed, requested_by)"
            " VALUES ('manual', 'p', 0, 'boss')"
        )
        await operator.execute("UPDATE loan_data.rejected SET replayed_at = now(), replayed_by = 'boss'")
        for forged in (
            "INSERT INTO loan_data.training_runs (trigger, portfolio, seed, login) VALUES ('manual', 'p', 0, 'boss')",
            "UPDATE loan_data.training_runs SET login = 'boss'",
            "UPDATE loan_data.rejected SET replayed_login = 'boss'",
            "UPDATE loan_data.rejected SET message = 'none'",
            "UPDATE loan_data.tunings SET forgotten_login = 'boss'",
            "INSERT INTO loan_data.deployments (login) VALUES ('boss')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await operator.execute(forged)
    finally:
        await operator.close()

    runs = await granted.fetch("SELECT requested_by, login FROM loan_data.training_runs")
    letters = await granted.fetch("SELECT replayed_by, replayed_login FROM loan_data.rejected")
    assert [tuple(row) for row in (*runs, *letters)] == [("boss", "desk"), ("boss", "desk")]


async def test_user_of_a_service_is_refused_what_is_anothers(granted: asyncpg.Connection, database: str) -> None:
    await make_user(granted, "as_ingest", "loanloop_ingest")
    ingest = await asyncpg.connect(as_user(database, "as_ingest"))
    try:
        for statement in (
            "INSERT INTO loan_data.deployments (deployment_seq) VALUES (1)",
            "DELETE FROM loan_data.predictions",
            "UPDATE loan_data.event_keys SET topic = 'x'",
            "TRUNCATE loan_data.raw_data",
            "DROP TABLE loan_data.raw_data",
            "CREATE TABLE loan_data.mine (a int)",
            "SELECT loan_data.grant_roles()",
            "ALTER TABLE loan_data.raw_data DISABLE TRIGGER ALL",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await ingest.execute(statement)
    finally:
        await ingest.close()


async def test_ingest_stores_changes_of_loans_where_only_the_owner_may_make_temporary_tables(
    granted: asyncpg.Connection, database: str
) -> None:
    await granted.execute(f"REVOKE TEMPORARY ON DATABASE {database_name(database)} FROM PUBLIC")
    await make_user(granted, "as_ingest", "loanloop_ingest")
    pool = await create_pool(as_user(database, "as_ingest"), application_name="test")
    try:
        store = LoanStore(pool, READER.fields)
        await store.store(arrive([make_loan(1)]))
        await store.store(arrive([make_outcome(1)]))
        assert await pool.fetchval("SELECT defaulted FROM loan_data.processed_data")
    finally:
        await pool.close()


async def test_service_makes_partitions_that_belong_to_the_owner_of_the_tables(
    granted: asyncpg.Connection, database: str
) -> None:
    await make_user(granted, "as_predictor", "loanloop_predictor")
    predictor = await asyncpg.connect(as_user(database, "as_predictor"))
    try:
        await predictor.execute("SELECT loan_data.ensure_partitions(5)")
    finally:
        await predictor.close()
    owners = await granted.fetch(
        """
        SELECT c.relname, c.relowner = p.relowner AS is_same FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
        WHERE p.oid = 'loan_data.predictions'::regclass
        """
    )
    assert len(owners) == 6
    assert all(row["is_same"] for row in owners)


async def test_account_that_may_create_no_roles_migrates_all_the_same_and_says_what_is_missing(
    own_infrastructure: Backend,
) -> None:
    """On a server of its own: roles outlive a database."""
    admin = await asyncpg.connect(own_infrastructure.postgres_dsn_of("postgres"))
    try:
        await make_user(admin, "plain_owner")
        await admin.execute("CREATE DATABASE owned OWNER plain_owner")
        dsn = as_user(own_infrastructure.postgres_dsn_of("owned"), "plain_owner")
        first = await run_migrate(dsn)
        assert re.match(r"\d+ migrations applied\nThe roles loanloop_ingest, .*loanloop_reader are not there", first)
        assert (await run_migrate(dsn, "--require-roles", exit_code=1)).startswith("0 migrations applied\nThe roles ")
        for statement in re.findall(r"CREATE ROLE \w+ NOLOGIN;", first):
            await admin.execute(statement)
        assert await run_migrate(dsn, "--require-roles") == "0 migrations applied\n"
        owned = await asyncpg.connect(dsn)
        assert await owned.fetchval("SELECT has_table_privilege('loanloop_ingest', 'loan_data.raw_data', 'INSERT')")
        await owned.close()
    finally:
        await admin.close()


async def run_migrate(dsn: str, *options: str, exit_code: int = 0) -> str:
    done = await asyncio.to_thread(CliRunner().invoke, app, ["migrate", "--postgres", dsn, *options])
    assert done.exit_code == exit_code, done.output
    return done.stdout
