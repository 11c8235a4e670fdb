"""A table's rows as a compressed file, written and read piece by piece."""

import asyncio
import contextlib
import gzip
import hashlib
import os
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from loanloop.backups.manifest import BackupUnusable

PIECE_BYTES = 1 << 20
# A loan's JSON is written nine tenths shorter at any level; the first is the fastest.
LEVEL = 1
SAY_AGAIN_S = 5.0


class RowFile:
    """Takes what COPY gives and writes it, compressed, beside the event loop. `close` leaves it on the disk.

    `tell` hears every few seconds how many bytes there are.
    """

    def __init__(self, path: Path, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._said_at = time.monotonic()
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._gzip = zlib.compressobj(LEVEL, wbits=31)
        self._hash = hashlib.sha256()
        self._pieces: list[bytes] = []
        self._waiting = 0
        self.n_bytes = 0

    async def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting >= PIECE_BYTES:
            await self._compress()

    async def close(self) -> str:
        """The sha256 of the file."""
        await self._compress()
        await asyncio.to_thread(self._finish)
        return self._hash.hexdigest()

    def abandon(self) -> None:
        self._file.close()

    async def _compress(self) -> None:
        data, self._pieces, self._waiting = b"".join(self._pieces), [], 0
        await asyncio.to_thread(lambda: self._put(self._gzip.compress(data)))
        if time.monotonic() - self._said_at >= SAY_AGAIN_S:
            self._said_at = time.monotonic()
            self._tell(self.n_bytes)

    def _put(self, compressed: bytes) -> None:
        self._file.write(compressed)
        self._hash.update(compressed)
        self.n_bytes += len(compressed)

    def _finish(self) -> None:
        self._put(self._gzip.flush())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


@contextlib.contextmanager
def _decompressed(path: Path) -> Iterator[gzip.GzipFile]:
    """Raises BackupUnusable, also for what is read in the block."""
    try:
        with gzip.open(path, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as broken:
        raise BackupUnusable(f"{path} cannot be read: {broken or 'it ends too early'}.") from broken


def pieces_of(path: Path) -> Iterator[bytes]:
    """What was written. Raises BackupUnusable."""
    with _decompressed(path) as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


async def read_pieces(path: Path) -> AsyncIterator[bytes]:
    pieces = pieces_of(path)
    while piece := await asyncio.to_thread(next, pieces, None):
        yield piece


def lines_of(path: Path) -> Iterator[bytes]:
    """One for each row: the format writes a line's end within a value as two letters."""
    with _decompressed(path) as file:
        yield from file


def count_rows(path: Path) -> int:
    return sum(piece.count(b"\n") for piece in pieces_of(path))


def digest_of(path: Path) -> str:
    """Raises BackupUnusable."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as missing:
        raise BackupUnusable(f"{path} cannot be read: {missing.strerror}.") from missing
