"""The SQL of backup and restore: which tables there are, how they hang together, their rows out and in."""

import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from loanloop_common.errors import LoanloopError
from loanloop_common.postgres import Connection

from loanloop.backups.manifest import Partition, Table
from loanloop.backups.manifest import Sequence as SequenceState
from loanloop.backups.rows import read_pieces

# What runs is no part of what is kept.
LEFT_OUT = ["service_instances"]

SELECT_TABLES = """
    SELECT c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'loan_data'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND c.relname <> ALL ($1::text[])
    GROUP BY c.relname
    ORDER BY c.relname
"""

SELECT_REFERENCES = """
    SELECT child.relname AS child, parent.relname AS parent
    FROM pg_constraint k
    JOIN pg_class child ON child.oid = k.conrelid JOIN pg_class parent ON parent.oid = k.confrelid
    WHERE k.contype = 'f' AND child.relnamespace = 'loan_data'::regnamespace AND child.oid <> parent.oid
"""

COUNT_UNDECIDED = """
    SELECT count(*) FROM loan_data.processed_data AS loan
    WHERE loan.features IS NOT NULL AND NOT loan.is_history
        AND NOT EXISTS (SELECT FROM loan_data.decision_keys AS key WHERE key.event_id = loan.event_id)
"""

SELECT_PARTITIONS = """
    SELECT parent.relname AS parent, child.relname AS name, pg_get_expr(child.relpartbound, child.oid) AS bound
    FROM pg_inherits i
    JOIN pg_class child ON child.oid = i.inhrelid JOIN pg_class parent ON parent.oid = i.inhparent
    WHERE child.relispartition AND child.relkind = 'r' AND child.relnamespace = 'loan_data'::regnamespace
    ORDER BY parent.relname, child.relname
"""

SELECT_SEQUENCES = """
    SELECT relname AS name FROM pg_class
    WHERE relkind = 'S' AND relnamespace = 'loan_data'::regnamespace
    ORDER BY relname
"""

SELECT_MIGRATIONS = "SELECT migration_id FROM _yoyo_migration ORDER BY migration_id"

# As pg_get_expr writes it where the session's time zone is UTC. It becomes a statement again.
BOUND = re.compile(r"FOR VALUES FROM \('[0-9 :+.-]+'\) TO \('[0-9 :+.-]+'\)|DEFAULT")


@dataclass(frozen=True)
class Layout:
    """`columns` by table, a table behind those that it refers to; without what the database computes itself."""

    columns: dict[str, list[str]]
    partitions: list[Partition]


async def fetch_layout(connection: Connection) -> Layout:
    columns = {row["name"]: list(row["columns"]) for row in await connection.fetch(SELECT_TABLES, LEFT_OUT)}
    references = [(row["child"], row["parent"]) for row in await connection.fetch(SELECT_REFERENCES)]
    partitions = [Partition(**row) for row in await connection.fetch(SELECT_PARTITIONS)]
    return Layout({name: columns[name] for name in parents_first(list(columns), references)}, partitions)


def parents_first(tables: Sequence[str], references: Sequence[tuple[str, str]]) -> list[str]:
    """In an order in which no row comes before one that it refers to."""
    waiting, ordered = list(tables), []
    while waiting:
        free = [name for name in waiting if not any(c == name and p in waiting for c, p in references)]
        if not free:
            raise LoanloopError(f"these tables refer to each other in a circle: {', '.join(waiting)}")
        ordered += free
        waiting = [name for name in waiting if name not in free]
    return ordered


async def fetch_migrations(connection: Connection) -> list[str]:
    """Those that were applied; none where there is no schema yet."""
    if await connection.fetchval("SELECT to_regclass('_yoyo_migration') IS NULL"):
        return []
    return [row["migration_id"] for row in await connection.fetch(SELECT_MIGRATIONS)]


async def fetch_sequences(connection: Connection) -> list[SequenceState]:
    names = [row["name"] for row in await connection.fetch(SELECT_SEQUENCES)]
    states = []
    for name in names:
        row = await connection.fetchrow(f"SELECT last_value, is_called FROM loan_data.{quoted(name)}")  # noqa: S608  # quoted
        assert row is not None
        states.append(SequenceState(name=name, **row))
    return states


async def copy_out(
    connection: asyncpg.Connection,
    name: str,
    columns: Sequence[str],
    write: Callable[[bytes], Coroutine[Any, Any, None]],
) -> int:
    """The table's rows, partitions included, in PostgreSQL's text format; how many there were."""
    listed = ", ".join(map(quoted, columns))
    query = f"SELECT {listed} FROM loan_data.{quoted(name)}"  # noqa: S608  # quoted
    return _n_copied(await connection.copy_from_query(query, output=write, format="text"))


async def copy_in(connection: asyncpg.Connection, table: Table, path: Path) -> int:
    copied = await connection.copy_to_table(
        table.name, schema_name="loan_data", columns=table.columns, source=read_pieces(path), format="text"
    )
    return _n_copied(copied)


def _n_copied(status: str) -> int:
    return int(status.rsplit(" ", 1)[1])


async def add_partitions(connection: Connection, partitions: Sequence[Partition]) -> None:
    there = {row["name"] for row in await connection.fetch(SELECT_PARTITIONS)}
    for one in partitions:
        if one.name in there:
            continue
        if not BOUND.fullmatch(one.bound):
            raise LoanloopError(f"the partition {one.name} has bounds that can't be restored: {one.bound}")
        await connection.execute(
            f"CREATE TABLE loan_data.{quoted(one.name)} PARTITION OF loan_data.{quoted(one.parent)} {one.bound}"
        )


async def set_sequences(connection: Connection, sequences: Sequence[SequenceState]) -> None:
    for one in sequences:
        await connection.execute(
            "SELECT setval($1::regclass, $2, $3)", f"loan_data.{quoted(one.name)}", one.last_value, one.is_called
        )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class NothingThere(LoanloopError):
    """No service has started on the database yet."""


async def fetch_begun(connection: Connection) -> asyncpg.Record:
    """What the database serves, and since when. Raises NothingThere."""
    try:
        row = await connection.fetchrow("SELECT portfolio, schema_hash, created_at FROM loan_data.installation")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        row = None
    if row is None:
        raise NothingThere("there is nothing to back up: no service has started on this database yet.")
    return row


async def is_replica(connection: Connection) -> bool:
    return bool(await connection.fetchval("SELECT pg_is_in_recovery()"))


async def count_undecided(connection: Connection) -> int:
    """Loans that are stored and that no model has decided yet."""
    count: int = await connection.fetchval(COUNT_UNDECIDED)
    return count
