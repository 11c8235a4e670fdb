"""The SQL around a restore: whether the database is empty, the marker that a restore works on it, its lock."""

import asyncpg
from loanloop_common.installation import RESTORING
from loanloop_common.instances import STALE_AFTER_S
from loanloop_common.postgres import Connection

from loanloop.backups.tables import LEFT_OUT, SELECT_TABLES, quoted

# Written by each service that starts, before there is a single loan.
WRITTEN_AT_START = ["installation"]

# `was_empty`: the database was looked through under the marker, so that what is in it now is a broken off restore's.
CREATE_MARKER = f"""
    CREATE TABLE IF NOT EXISTS {RESTORING} (
        backup    text        NOT NULL,
        begun_at  timestamptz NOT NULL DEFAULT now(),
        was_empty boolean     NOT NULL DEFAULT false
    )
"""

RUNNING = """
    SELECT string_agg(DISTINCT service, ', ') FROM loan_data.service_instances
    WHERE seen_at > now() - make_interval(secs => $1)
"""


async def take_lock(connection: Connection) -> bool:
    """It ends with the session."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock(hashtext('loanloop restore'))"))


async def holds_a_broken_off_restore(connection: Connection) -> bool:
    """Only then may what is there be deleted: a marker alone may come from a look that was broken off."""
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", RESTORING):
        return False
    return bool(await connection.fetchval(f"SELECT bool_or(was_empty) FROM {RESTORING}"))  # noqa: S608  # a constant


async def begin(connection: Connection, backup: str) -> None:
    async with connection.transaction():
        await connection.execute(CREATE_MARKER)
        await connection.execute(f"INSERT INTO {RESTORING} (backup) VALUES ($1)", backup)  # noqa: S608  # a constant


async def note_that_it_was_empty(connection: Connection) -> None:
    await connection.execute(f"UPDATE {RESTORING} SET was_empty = true")  # noqa: S608  # a constant


async def end(connection: Connection) -> None:
    await connection.execute(f"DROP TABLE IF EXISTS {RESTORING}")


async def what_is_there(connection: Connection) -> str | None:
    """In words, what keeps a backup out: running services or rows. What services write at their start does not."""
    if await connection.fetchval("SELECT to_regnamespace('loan_data') IS NULL"):
        return None
    if running := await connection.fetchval(RUNNING, STALE_AFTER_S):
        return f"{running} run on it"
    for row in await connection.fetch(SELECT_TABLES, LEFT_OUT + WRITTEN_AT_START):
        any_row = f"SELECT EXISTS (SELECT FROM loan_data.{quoted(row['name'])})"  # noqa: S608  # quoted
        if await connection.fetchval(any_row):
            return f"loan_data.{row['name']} has rows"
    return None


async def forget_schema(connection: Connection) -> None:
    """As if no migration had ever been applied."""
    async with connection.transaction():
        await connection.execute("DROP SCHEMA IF EXISTS loan_data CASCADE")
        if await connection.fetchval("SELECT to_regclass('_yoyo_migration') IS NOT NULL"):
            await connection.execute("DELETE FROM _yoyo_migration")


async def empty_for_restore(connection: asyncpg.Connection, tables: list[str]) -> None:
    """In the caller's transaction: from here on nobody else writes, and what services write at their start is gone."""
    listed = ", ".join(f"loan_data.{quoted(name)}" for name in tables)
    await connection.execute(f"LOCK TABLE {listed} IN ACCESS EXCLUSIVE MODE")
    for name in WRITTEN_AT_START + LEFT_OUT:
        await connection.execute(f"DELETE FROM loan_data.{quoted(name)}")  # noqa: S608  # constants
