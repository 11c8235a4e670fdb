"""Files and folders that are on the disk, and not only on the way to it."""

import os
from pathlib import Path


def write_synced(path: Path, content: bytes) -> None:
    """On the disk when it returns, readable by its owner alone: a backup holds all that is known of the loans."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """The names in it are on the disk when it returns."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
