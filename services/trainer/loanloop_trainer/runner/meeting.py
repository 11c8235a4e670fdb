"""The folder where the processes of a training meet. One whose owner was killed is removed by a later training."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "loanloop-training-"
# So long a folder may be without its lock because its owner has only just made it.
NEW_FOR_S = 60.0


@contextlib.contextmanager
def meeting_folder() -> Iterator[Path]:
    """Locked while it is used; the kernel opens the lock when the process ends, however it ends."""
    remove_left_behind()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, _opened(Path(name)) as folder:
        with contextlib.suppress(OSError):  # a file system without locks: nobody gets one on the folder to remove it
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Path(name)


def remove_left_behind() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # Gone meanwhile, another user's, or in use.
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime < NEW_FOR_S:
                continue
            with _opened(folder) as it:
                fcntl.flock(it, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
