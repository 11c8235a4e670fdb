"""A backup: where the groups are, then the database as of one moment, then a look at what was written."""

import asyncio
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import asyncpg
from loanloop_common.errors import LoanloopError
from loanloop_common.settings import KafkaSettings

from loanloop.backups.checking import MODELS, check_backup, corrupt_models
from loanloop.backups.durable_files import sync_folder
from loanloop.backups.folder import (
    UNFINISHED,
    FolderUnusable,
    Kept,
    backups_in,
    locked,
    name_of,
    publish,
    remove,
    superfluous,
)
from loanloop.backups.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    Positions,
    Table,
    write_manifest,
    write_sums,
)
from loanloop.backups.portfolio_files import copy_portfolio, portfolio_source
from loanloop.backups.positions import fetch_positions
from loanloop.backups.rows import RowFile, digest_of
from loanloop.backups.session import connect
from loanloop.backups.tables import (
    Layout,
    copy_out,
    fetch_begun,
    fetch_layout,
    fetch_migrations,
    fetch_sequences,
    is_replica,
)
from loanloop.telling import Tell, counted


class CannotBackUp(LoanloopError):
    """The database can't be backed up as it is."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """`portfolio` is a preset's name or a file."""

    kafka: KafkaSettings
    dsn: str
    portfolio: str


async def back_up(source: Source, folder: Path, *, keep: int | None, tell: Tell) -> Kept:
    """A whole, checked backup in `folder`, or none. Removes older ones of the same installation beyond `keep`."""
    with locked(folder, tell):
        draft = folder / f"{UNFINISHED}{secrets.token_hex(4)}"
        draft.mkdir(mode=0o700)
        try:
            manifest = await _write(source, draft, tell)
            await asyncio.to_thread(check_backup, draft, tell)
            final = publish(draft, name_of(manifest.portfolio, manifest.taken_at))
        except OSError as error:
            if isinstance(error, (ConnectionError, TimeoutError, socket.gaierror)):
                raise
            raise FolderUnusable(
                f"{folder} does not take the backup ({error.strerror or error}): make room, or name another with --to."
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        if keep is not None:
            _remove_older(folder, manifest, keep, tell)
        return Kept(final, manifest)


def _remove_older(folder: Path, manifest: Manifest, keep: int, tell: Tell) -> None:
    """What can't be read or removed is told: the backup that was just made is there all the same."""
    kept, broken = backups_in(folder)
    for sentence in broken:
        tell(f"Warning: {sentence}")
    for old in superfluous(kept, manifest, keep):
        if remove(old.path, tell):
            tell(f"removed {old.path}, older than the newest {keep}")


async def newest_taken_at(source: Source, folder: Path) -> datetime | None:
    """Of the backups of this installation. Raises Unavailable, CannotBackUp or NothingThere."""
    async with _snapshot(source.dsn) as connection:
        begun = await fetch_begun(connection)
    installation = begun["portfolio"], begun["created_at"]
    kept, _ = await asyncio.to_thread(backups_in, folder) if folder.exists() else ([], [])  # noqa: ASYNC240 - one look
    manifests = (one.manifest for one in kept)
    return next((one.taken_at for one in manifests if one.installation == installation), None)


async def _write(source: Source, folder: Path, tell: Tell) -> Manifest:
    """All files of it. Offsets come first: of what is committed by then each effect is in the database that is read."""
    positions = await fetch_positions(source.kafka)
    async with _snapshot(source.dsn) as connection:
        begun = await fetch_begun(connection)
        portfolio = portfolio_source(source.portfolio, begun["portfolio"], begun["schema_hash"])
        copies = await asyncio.to_thread(copy_portfolio, portfolio, folder)
        draft = _Draft(folder, next(iter(copies), None), positions, datetime.now(UTC))
        manifest = await _write_tables(connection, draft, begun, tell)
    await asyncio.to_thread(_seal, folder, manifest, [*copies, *(table.file for table in manifest.tables)])
    return manifest


@dataclass(frozen=True)
class _Draft:
    path: Path
    portfolio_file: str | None
    positions: Positions
    taken_at: datetime


async def _write_tables(connection: asyncpg.Connection, draft: _Draft, begun: asyncpg.Record, tell: Tell) -> Manifest:
    migrations = await fetch_migrations(connection)  # first: not every login may, and a table takes its time
    layout = await fetch_layout(connection)
    tables = [await _write_table(connection, draft.path, name, layout, tell) for name in layout.columns]
    return Manifest(
        format=FORMAT,
        loanloop=version("loanloop"),
        taken_at=draft.taken_at,
        took_s=round((datetime.now(UTC) - draft.taken_at).total_seconds(), 1),
        portfolio=begun["portfolio"],
        portfolio_file=draft.portfolio_file,
        schema_hash=begun["schema_hash"],
        begun_at=begun["created_at"],
        postgres=str(connection.get_server_version().major),
        migrations=migrations,
        tables=tables,
        partitions=layout.partitions,
        sequences=await fetch_sequences(connection),
        positions=draft.positions,
        n_models=next(table.n_rows for table in tables if table.name == MODELS),
        corrupt_models=await asyncio.to_thread(corrupt_models, draft.path, tables),
    )


def _seal(draft: Path, manifest: Manifest, files: Sequence[str]) -> None:
    """What tells that it is whole, last; all of it on the disk."""
    write_manifest(draft, manifest)
    write_sums(draft, {name: digest_of(draft / name) for name in (*files, MANIFEST)})
    for path in (*(path for path in draft.rglob("*") if path.is_dir()), draft):
        sync_folder(path)


@asynccontextmanager
async def _snapshot(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A session that sees the database as of one moment. Raises Unavailable or CannotBackUp."""
    connection = await connect(dsn, application_name="backup")
    try:
        if await is_replica(connection):
            raise CannotBackUp(
                "this PostgreSQL is a replica, which may lack what Kafka's groups are done with: "
                "name the primary in LOANLOOP_POSTGRES__DSN."
            )
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        connection.terminate()


async def _write_table(connection: asyncpg.Connection, draft: Path, name: str, layout: Layout, tell: Tell) -> Table:
    file, columns = f"tables/{name}.gz", layout.columns[name]
    (draft / "tables").mkdir(mode=0o700, exist_ok=True)
    rows = RowFile(draft / file, lambda n_bytes: tell(f"{name}: {n_bytes / 1e6:,.0f} MB so far"))
    try:
        n_rows = await copy_out(connection, name, columns, rows.write)
        digest = await rows.close()
    finally:
        rows.abandon()
    tell(f"{name}: {counted(n_rows, 'row')}, {rows.n_bytes / 1e6:,.1f} MB")
    return Table(name=name, columns=columns, file=file, n_rows=n_rows, n_bytes=rows.n_bytes, sha256=digest)
