"""The file of API keys, written by `loanloop keys`, read again by the predictor when it has changed."""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from loanloop_predictor.domain.access_keys import AccessKey, KeysInvalid, read_keys, written

LOOK_EVERY_S = 2.0  # at a file that may have changed


def load_keys(path: Path) -> dict[str, AccessKey]:
    """Raises KeysInvalid, naming the file."""
    try:
        return read_keys(path.read_text())
    except FileNotFoundError as missing:
        raise KeysInvalid(f"there is no file of API keys at {path}: `loanloop keys new` makes one.") from missing
    except (OSError, UnicodeDecodeError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "it is not text"
        raise KeysInvalid(f"the file of API keys at {path} cannot be read: {why}.") from cause
    except KeysInvalid as invalid:
        raise KeysInvalid(f"{path}: {invalid}.") from invalid


@contextmanager
def changed_keys(path: Path) -> Iterator[dict[str, AccessKey]]:
    """The keys, to be changed; written as a whole when the block ends, one process after the other.

    Through a link the file that it names is changed: in its place a file would stand that nobody else reads.
    """
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as cause:
        raise KeysInvalid(f"the folder {path.parent} cannot be used: {cause.strerror}.") from cause
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = load_keys(path) if path.exists() else {}
        yield keys
        _replace(path, keys)
        os.fsync(folder)
    finally:
        os.close(folder)


def _replace(path: Path, keys: Mapping[str, AccessKey]) -> None:
    """Whoever reads it sees the old file or the new one; owner and mode stay as they were."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("x") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(written(keys.values()))
            file.flush()
            if path.exists():
                former = path.stat()
                os.fchmod(file.fileno(), former.st_mode & 0o777)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), former.st_uid, former.st_gid)
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as cause:
        draft.unlink(missing_ok=True)
        raise KeysInvalid(f"the file of API keys at {path} cannot be written: {cause.strerror}.") from cause


class KeysFile:
    """What the file says, as of the last look. A file that has become unreadable changes nothing but the state."""

    def __init__(self, path: Path) -> None:
        """Raises KeysInvalid."""
        self._path = path
        self._seen = self._state()
        self.keys = load_keys(path)

    def look(self) -> bool:
        """Whether it has changed. Raises KeysInvalid."""
        state = self._state()
        if state == self._seen and state is not None:
            return False
        self.keys = load_keys(self._path)
        self._seen = state
        return True

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
