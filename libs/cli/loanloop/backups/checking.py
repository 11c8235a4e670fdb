"""Whether a backup is whole: each file's bytes, each table's rows, each model's bundle."""

import binascii
import hashlib
from pathlib import Path

from loanloop.backups.manifest import MANIFEST, SUMS, BackupUnusable, Manifest, Table, read_manifest, read_sums
from loanloop.backups.rows import count_rows, digest_of, lines_of
from loanloop.telling import Tell, counted

MODELS = "model_metadata"
_OF_MODELS = ("version", "bundle", "bundle_sha256")


def check_backup(backup: Path, tell: Tell) -> Manifest:
    """Reads all of it. Raises BackupUnusable, naming the first file that is not as it was written."""
    manifest = read_manifest(backup)
    sums = read_sums(backup)
    for name, expected in sums.items():
        if digest_of(backup / name) != expected:
            raise BackupUnusable(
                f"{backup / name} is not as it was written: its sha256 is not that of {SUMS}; use another backup."
            )
    if missing := [table.file for table in manifest.tables if sums.get(table.file) != table.sha256]:
        raise BackupUnusable(f"{backup / SUMS} does not belong to this backup: it does not name {missing[0]}.")
    for table in manifest.tables:
        _check_rows(backup, table)
    _check_models(backup, manifest)
    rows, models = counted(manifest.n_rows, "row"), counted(manifest.n_models, "model")
    tell(f"checked: {counted(len(sums), 'file')}, {rows}, {models}")
    return manifest


def _check_rows(backup: Path, table: Table) -> None:
    n_rows = count_rows(backup / table.file)
    if n_rows != table.n_rows:
        raise BackupUnusable(f"{backup / table.file} holds {n_rows:,} rows and not {table.n_rows:,}.")


def _check_models(backup: Path, manifest: Manifest) -> None:
    corrupt = corrupt_models(backup, manifest.tables)
    if corrupt != manifest.corrupt_models:
        raise BackupUnusable(f"{backup}: the bundles of {', '.join(corrupt)} are not those that were backed up.")


def corrupt_models(backup: Path, tables: list[Table]) -> list[str]:
    """The versions whose bundle is not of the hash that is stored with it. Raises BackupUnusable."""
    named = [one for one in tables if one.name == MODELS and set(_OF_MODELS) <= set(one.columns)]
    if len(named) != 1:
        raise BackupUnusable(
            f"{backup / MANIFEST} must name one table {MODELS} with the columns {', '.join(_OF_MODELS)}: it is not as "
            "it was written; use another backup."
        )
    (table,) = named
    version, bundle, expected = map(table.columns.index, _OF_MODELS)
    found = []
    for line in lines_of(backup / table.file):
        values = line.rstrip(b"\n").split(b"\t")
        if hashlib.sha256(_bytea(values[bundle])).digest() != _bytea(values[expected]):
            found.append(values[version].decode())
    return sorted(found)


def _bytea(text: bytes) -> bytes:
    """Of its text form within COPY's: two backslashes, an x, and two digits for each byte."""
    return binascii.unhexlify(text.removeprefix(b"\\\\x"))
