"""A folder of backups: their names, the unfinished ones, how many are kept. One process at a time writes into it."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from loanloop_common.errors import LoanloopError

from loanloop.backups.durable_files import sync_folder
from loanloop.backups.manifest import BackupUnusable, Manifest, of_another, read_manifest
from loanloop.telling import Tell

UNFINISHED, DOOMED = ".unfinished-", ".removing-"


class FolderUnusable(LoanloopError):
    """Backups can't be written there, or another process writes there now."""


@dataclass(frozen=True)
class Kept:
    path: Path
    manifest: Manifest


@contextlib.contextmanager
def locked(folder: Path, tell: Tell) -> Iterator[None]:
    """Makes the folder, holds its lock and clears away what earlier, killed processes left. Raises FolderUnusable."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise FolderUnusable(f"{folder} cannot hold backups ({error.strerror}): name another with --to.") from error
    try:
        _lock(descriptor, folder)
        for left in (*folder.glob(f"{UNFINISHED}*"), *folder.glob(f"{DOOMED}*")):
            _delete(left, tell)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderUnusable(f"another backup is being written to {folder}: wait for it.") from None


def name_of(portfolio: str, taken_at: datetime) -> str:
    return f"loanloop-{portfolio}-{taken_at:%Y%m%dT%H%M%S}Z"


def publish(draft: Path, name: str) -> Path:
    """Under its own name from here on, which no unfinished backup has."""
    final = draft.with_name(name)
    if final.exists():
        raise FolderUnusable(f"{final} is there already: wait a second, and begin again.")
    draft.rename(final)
    sync_folder(final.parent)
    return final


def backups_in(folder: Path) -> tuple[list[Kept], list[str]]:
    """The whole ones, the newest first, and why others can't be read. Raises FolderUnusable."""
    kept, broken = [], []
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.startswith("loanloop-"))
    except OSError as error:
        raise FolderUnusable(
            f"{folder} cannot be looked into ({error.strerror}): name the folder of the backups with --to."
        ) from error
    for path in paths:
        try:
            kept.append(Kept(path, read_manifest(path)))
        except BackupUnusable as unusable:
            broken.append(str(unusable))
    return sorted(kept, key=lambda one: one.manifest.taken_at, reverse=True), broken


def superfluous(newest_first: Sequence[Kept], of: Manifest, keep: int) -> list[Kept]:
    """Older than the newest `keep` of the same installation; those of others are not counted and not touched."""
    same = [one for one in newest_first if one.manifest.installation == of.installation]
    return same[keep:]


def remove(backup: Path, tell: Tell) -> bool:
    """A half-removed one is no backup any more. False where it can't be, which is told and stops no other backup."""
    doomed = backup.with_name(DOOMED + backup.name)
    try:
        backup.rename(doomed)
    except OSError as error:
        _tell_stays(backup, error, tell)
        return False
    return _delete(doomed, tell)


def _delete(path: Path, tell: Tell) -> bool:
    try:
        shutil.rmtree(path)
    except OSError as error:
        _tell_stays(path, error, tell)
        return False
    return True


def _tell_stays(path: Path, error: OSError, tell: Tell) -> None:
    tell(f"Warning: {path} stays, as it cannot be removed ({error.strerror}){of_another(path)}.")
