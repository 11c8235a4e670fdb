"""What a backup says of itself: manifest.json, and the sums by which its files are checked."""

import os
from datetime import datetime
from pathlib import Path

import msgspec
from loanloop_common.errors import LoanloopError

from loanloop.backups.durable_files import write_synced

FORMAT = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"  # as sha256sum writes it, so that `sha256sum -c` checks a backup where no loanloop is


class BackupUnusable(LoanloopError):
    """The folder is no backup, not a whole one, or not one that this loanloop can read."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Its rows are in `file`, in PostgreSQL's text format for COPY, compressed by gzip."""

    name: str
    columns: list[str]
    file: str
    n_rows: int
    n_bytes: int
    sha256: str


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    parent: str
    name: str
    bound: str


class Sequence(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    last_value: int
    is_called: bool


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """How far each group had come before the database was read, by topic and partition."""

    cluster_id: str
    topic_ids: dict[str, str]
    groups: dict[str, dict[str, dict[str, int]]]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    loanloop: str
    taken_at: datetime
    took_s: float
    portfolio: str
    portfolio_file: str | None  # in the backup; None for a preset
    schema_hash: str
    begun_at: datetime  # when the installation was begun
    postgres: str
    migrations: list[str]
    tables: list[Table]
    partitions: list[Partition]
    sequences: list[Sequence]
    positions: Positions
    n_models: int
    corrupt_models: list[str]  # whose bytes in the database itself don't match their hash

    @property
    def installation(self) -> tuple[str, datetime]:
        """What tells one installation from another, whose backups may lie in the same folder."""
        return self.portfolio, self.begun_at

    @property
    def n_rows(self) -> int:
        return sum(table.n_rows for table in self.tables)

    @property
    def n_bytes(self) -> int:
        return sum(table.n_bytes for table in self.tables)


class _Formatted(msgspec.Struct):
    format: int


def read_manifest(backup: Path) -> Manifest:
    """Raises BackupUnusable."""
    try:
        content = (backup / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupUnusable(f"{backup} holds no whole backup: it has no {MANIFEST}.") from None
    except OSError as error:
        raise BackupUnusable(f"{backup} cannot be read ({error.strerror}){of_another(backup)}.") from error
    try:
        found = msgspec.json.decode(content, type=_Formatted).format
        if found != FORMAT:
            raise BackupUnusable(
                f"{backup} is a backup of format {found}, and this loanloop reads format {FORMAT}: "
                "restore it with the version that made it."
            )
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise BackupUnusable(f"{backup / MANIFEST} cannot be read: {broken}") from broken


def of_another(backup: Path) -> str:
    """Whose it is and how it becomes this user's, where it is another's: that of a copy by root is."""
    try:
        owner, user = backup.lstat().st_uid, os.geteuid()
    except OSError:
        return ""
    if owner == user:
        return ""
    return f": it is user {owner}'s and this is user {user}; as root run `chown -R {user} {backup}`"


def write_manifest(backup: Path, manifest: Manifest) -> None:
    write_synced(backup / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))


def read_sums(backup: Path) -> dict[str, str]:
    """sha256 by file. Raises BackupUnusable."""
    try:
        lines = (backup / SUMS).read_text().splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as broken:
        raise BackupUnusable(f"{backup / SUMS} cannot be read ({broken}): the backup is not whole.") from broken


def write_sums(backup: Path, sums: dict[str, str]) -> None:
    write_synced(backup / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode())
