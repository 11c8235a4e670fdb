"""A backup into an empty installation, in steps that a killed restore leaves recognisable and repeatable.

From the first change to the last a marker stands in the database: no service starts on it, and a restore that finds it
begins again. Kafka's groups are set before it goes.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiokafka import TopicPartition
from loanloop_common.errors import LoanloopError
from loanloop_common.events import Topic
from loanloop_common.kafka import create_topics
from loanloop_common.postgres import known_migrations, migrate
from loanloop_common.settings import KafkaSettings

from loanloop.backups import marker
from loanloop.backups.manifest import Manifest
from loanloop.backups.positions import refuse_groups_in_use, set_positions
from loanloop.backups.session import connect
from loanloop.backups.tables import add_partitions, copy_in, count_undecided, fetch_migrations, set_sequences
from loanloop.telling import Tell, counted


class CannotRestore(LoanloopError):
    """The backup doesn't fit this loanloop, or the database isn't empty."""


def refuse_unknown_schema(manifest: Manifest) -> None:
    """Raises CannotRestore where the backup was made under migrations that this version doesn't bring."""
    known = known_migrations()
    if unknown := [name for name in manifest.migrations if name not in known]:
        raise CannotRestore(
            f"the backup has schema version {max(manifest.migrations)} and this loanloop knows {max(known)} at most "
            f"(unknown: {', '.join(unknown)}): restore it with loanloop {manifest.loanloop} or newer."
        )


@dataclass(frozen=True, kw_only=True)
class Destination:
    """`settle` puts the portfolio where the services find it; it is called once all else is done."""

    dsn: str
    kafka: KafkaSettings
    settle: Callable[[], None] = lambda: None


async def restore_into(destination: Destination, backup: Path, manifest: Manifest, tell: Tell) -> None:
    """The checked backup into what is empty.

    Raises CannotRestore, GroupInUse or Unavailable.
    """
    dsn, kafka = destination.dsn, destination.kafka
    refuse_unknown_schema(manifest)
    await create_topics(kafka)
    await refuse_groups_in_use(kafka)
    async with _session(dsn) as connection:
        await _begin(connection, backup)
        await _prepare_schema(connection, dsn, manifest)
        await _load(connection, backup, manifest, tell)
        positions = await set_positions(kafka, manifest.positions)
        tell(positions_in_words(positions.groups))
        if Topic.LOAN_RECEIVED in positions.made_anew:
            tell(unread_in_words(await count_undecided(connection)))
        if applied := await migrate(dsn):
            tell(f"{counted(applied, 'newer migration')} applied")
        destination.settle()
        await marker.end(connection)


@asynccontextmanager
async def _session(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """One that holds the right to restore, which one process of all has. Raises Unavailable or CannotRestore."""
    connection = await connect(dsn, application_name="restore")
    try:
        if not await marker.take_lock(connection):
            raise CannotRestore("another `loanloop restore` works on this database: wait for it.")
        yield connection
    finally:
        connection.terminate()


async def _begin(connection: asyncpg.Connection, backup: Path) -> None:
    """Raises CannotRestore where the database holds anything but a restore that was broken off."""
    if await marker.holds_a_broken_off_restore(connection):
        await marker.forget_schema(connection)
        await marker.begin(connection, backup.name)
    else:
        await _look(connection, backup)
    await marker.note_that_it_was_empty(connection)


async def _look(connection: asyncpg.Connection, backup: Path) -> None:
    """The marker first: of a service that starts meanwhile and this look at the rows one sees the other."""
    await marker.begin(connection, backup.name)
    try:
        found = await marker.what_is_there(connection)
    except BaseException:  # also Ctrl-C: nothing has been changed, and services may start
        await marker.end(connection)
        raise
    if found:
        await marker.end(connection)
        raise CannotRestore(
            f"the database is not empty ({found}): a backup is restored into an empty one alone; "
            "name another, or make this one anew."
        )


async def _prepare_schema(connection: asyncpg.Connection, dsn: str, manifest: Manifest) -> None:
    """The schema that the backup was made under: newer migrations are applied to its rows, as they were made for."""
    applied = await fetch_migrations(connection)
    if applied and applied != manifest.migrations:
        await marker.forget_schema(connection)
    await migrate(dsn, only=manifest.migrations)


async def _load(connection: asyncpg.Connection, backup: Path, manifest: Manifest, tell: Tell) -> None:
    """All rows or none."""
    async with connection.transaction():
        await marker.empty_for_restore(connection, [table.name for table in manifest.tables])
        await add_partitions(connection, manifest.partitions)
        for table in manifest.tables:
            n_rows = await copy_in(connection, table, backup / table.file)
            if n_rows != table.n_rows:
                raise CannotRestore(f"{table.name} took {n_rows:,} rows and not {table.n_rows:,}.")
            tell(f"{table.name}: {counted(n_rows, 'row')}")
        await set_sequences(connection, manifest.sequences)


def unread_in_words(n_undecided: int) -> str:
    loans = counted(n_undecided, "stored loan")
    undecided = f", and the {loans} without a decision" if n_undecided else ""
    return (
        "This Kafka has none of the messages of then. Let the producers send again what they sent since shortly before "
        f"the backup{undecided}: each loan is stored and decided once."
    )


def positions_in_words(positions: Mapping[str, Mapping[TopicPartition, int]]) -> str:
    return "; ".join(
        f"{group} goes on at "
        + ", ".join(f"{at.topic}/{at.partition}:{offset}" for at, offset in sorted(offsets.items()))
        for group, offsets in positions.items()
    )
