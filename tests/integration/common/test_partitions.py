"""Partitions on a real database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest
from loanloop_common.partitions import partitions_ahead
from loanloop_common.postgres import Pool, _apply_migrations, create_pool, known_migrations, migrate

from tests.support.infrastructure import database_name

PARENTS = ("raw_data", "predictions")
BEFORE_MONTHS_OF_UTC = [name for name in known_migrations() if name < "0015"]
# PostgreSQL takes it for a timestamptz again, whatever the session's time zone.
SELECT_BOUNDS = """
    SELECT bound[1]::timestamptz AS first, bound[2]::timestamptz AS last
    FROM pg_inherits JOIN pg_class ON oid = inhrelid,
         LATERAL regexp_match(pg_get_expr(relpartbound, oid), $$FROM \\('(.+)'\\) TO \\('(.+)'\\)$$) AS bound
    WHERE inhparent = ('loan_data.' || $1)::regclass
    ORDER BY first
"""


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test")
    yield pool
    await pool.close()


async def partitions_of(pool: Pool) -> set[str]:
    rows = await pool.fetch(
        """
        SELECT inhrelid::regclass::text AS name FROM pg_inherits
        WHERE inhparent IN ('loan_data.raw_data'::regclass, 'loan_data.predictions'::regclass)
        """
    )
    return {row["name"] for row in rows}


async def test_partitions_that_are_missing_are_there_before_a_service_goes_on(pool: Pool) -> None:
    expected = await partitions_of(pool)
    for name in expected:
        await pool.execute(f"DROP TABLE {name} CASCADE")

    await partitions_ahead(pool)

    assert len(expected) == 8
    assert await partitions_of(pool) == expected


@pytest.fixture
async def of_new_york(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A session on a database without tables whose time zone is not UTC; `migrate` finds it by `database` too."""
    owner = await asyncpg.connect(database)
    await owner.execute("DROP SCHEMA public CASCADE; DROP SCHEMA loan_data CASCADE; CREATE SCHEMA public")
    await owner.execute(f"ALTER DATABASE {database_name(database)} SET timezone = 'America/New_York'")
    await owner.close()
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SHOW timezone") == "America/New_York"
    yield connection
    await connection.close()


async def bounds_of(connection: asyncpg.Connection, parent: str) -> list[tuple[datetime, datetime]]:
    return [(row["first"], row["last"]) for row in await connection.fetch(SELECT_BOUNDS, parent)]


def months(n: int) -> list[tuple[datetime, datetime]]:
    """From this one on, as UTC has them."""
    first = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    starts = [first]
    while len(starts) <= n:
        starts.append((starts[-1] + timedelta(days=32)).replace(day=1))
    return list(pairwise(starts))


async def test_months_are_those_of_utc_whatever_the_time_zone_of_the_server(
    database: str, of_new_york: asyncpg.Connection
) -> None:
    await migrate(database)
    await of_new_york.execute("SELECT loan_data.ensure_partitions(14)")

    for parent in PARENTS:
        assert await bounds_of(of_new_york, parent) == months(15)


@pytest.mark.parametrize("options", ["", "?options=-c%20lock_timeout%3D60s", "?connect_timeout=10"])
async def test_migrations_are_applied_in_utc_whatever_the_time_zone_of_the_server(
    database: str, of_new_york: asyncpg.Connection, tmp_path: Path, options: str
) -> None:
    said = "SELECT current_setting('TimeZone') AS zone, current_setting('lock_timeout') AS waits"
    (tmp_path / "0001_said.sql").write_text(f"CREATE TABLE said AS {said}")

    _apply_migrations(database + options, tmp_path, None)

    waits = "1min" if "lock_timeout" in options else "10s"
    assert tuple(await of_new_york.fetchrow("SELECT zone, waits FROM said") or ()) == ("UTC", waits)


async def test_partitions_that_were_made_in_another_time_zone_are_made_anew(
    database: str, of_new_york: asyncpg.Connection
) -> None:
    await migrate(database, only=BEFORE_MONTHS_OF_UTC)
    for n in (2, 3):
        await of_new_york.execute(f"DROP TABLE IF EXISTS {name_of('predictions', n)}, {name_of('raw_data', n)}")
    await make_an_hour_late(of_new_york, "predictions", 2)

    assert await migrate(database) == len(known_migrations()) - len(BEFORE_MONTHS_OF_UTC)

    for parent in PARENTS:
        assert await bounds_of(of_new_york, parent) == months(4)


async def test_rows_of_a_partition_that_was_made_in_another_time_zone_go_to_the_months_that_they_belong_to(
    database: str, of_new_york: asyncpg.Connection
) -> None:
    await migrate(database, only=BEFORE_MONTHS_OF_UTC)
    (_, following), (_, one_more) = months(2)
    for n in range(4):
        await of_new_york.execute(f"DROP TABLE IF EXISTS {name_of('raw_data', n)}")
    await make_an_hour_late(of_new_york, "raw_data", 0)
    await make_an_hour_late(of_new_york, "raw_data", 1)
    moments = [following + timedelta(minutes=m) for m in (-600, 30, 120)] + [one_more]
    await of_new_york.executemany(
        "INSERT INTO loan_data.raw_data (event_id, topic, kafka_partition, kafka_offset, loan_id, occurred_at, payload,"
        " received_at) VALUES (gen_random_uuid(), 't', 0, $1, 'loan', now(), '', $2)",
        list(enumerate(moments)),
    )

    await migrate(database)

    assert await bounds_of(of_new_york, "raw_data") == months(4)
    rows = await of_new_york.fetch(
        "SELECT tableoid::regclass::text AS name, kafka_offset, received_at FROM loan_data.raw_data ORDER BY 2"
    )
    names = [name_of("raw_data", n) for n in (0, 1, 1, 2)]
    assert [tuple(row) for row in rows] == list(zip(names, range(4), moments, strict=True))
    assert await of_new_york.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE '%wrong'") == 0


def name_of(parent: str, n: int) -> str:
    """Of the n-th month from now."""
    return f"loan_data.{parent}_{months(n + 1)[n][0]:%Y_%m}"


async def make_an_hour_late(connection: asyncpg.Connection, parent: str, n: int) -> None:
    first, last = (moment + timedelta(hours=1) for moment in months(n + 1)[n])
    await connection.execute(
        f"CREATE TABLE {name_of(parent, n)} PARTITION OF loan_data.{parent} FOR VALUES FROM ('{first}') TO ('{last}')"
    )
