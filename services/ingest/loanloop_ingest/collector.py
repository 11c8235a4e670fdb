"""Reads a folder of loan files onto Kafka, so that collected loans take the same path as any others."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import structlog
from loanloop_common.errors import InvalidMessage, in_one_line
from loanloop_common.polling import Poller
from loanloop_common.telemetry import count, observe

from loanloop_ingest.domain.file_events import FileEvent, FileMappingMissing, RefusedRow, Row, RowReader, loan_events
from loanloop_ingest.loan_files import (
    SUFFIXES,
    Chunk,
    LoanFile,
    Stamp,
    UnreadableFile,
    file_sha256,
    open_loan_file,
    place_in,
    stamp_of,
)
from loanloop_ingest.store.collected_files import CollectedFileStore, Progress, RefusedFileRow

log = structlog.get_logger()

_SAY_EVERY_S = 600

Publish = Callable[[Sequence[tuple[bytes | None, bytes]]], Awaitable[None]]
Clock = Callable[[], datetime]
Result = TypeVar("Result")


@dataclass
class _Slice:
    """What one chunk of a file became."""

    events: list[FileEvent] = field(default_factory=list)
    refused: list[RefusedFileRow] = field(default_factory=list)


class _StillWritten(Exception):
    """The file changed while it was read."""


class Collector:
    """Each file's content is read once, in chunks; after a crash it goes on behind the last acknowledged chunk.

    A row whose outcome was known when the file was begun becomes a loan of history; an outcome known later is not read,
    as the file isn't read again. A chunk read twice repeats the same events. A file that has changed within `settled_s`
    is still being written: it is read once it stays as it is.
    """

    name = "collector"

    def __init__(
        self,
        *,
        folder: Path,
        reader: RowReader,
        store: CollectedFileStore,
        publish: Publish,
        clock: Clock,
        every_s: float,
        settled_s: float,
    ) -> None:
        self._folder = folder
        self._reader = reader
        self._store = store
        self._publish = publish
        self._clock = clock
        self._settled_s = settled_s
        self._stamps: dict[Path, Stamp] = {}
        self._stopping = asyncio.Event()
        self._poller = Poller(self.collect, every_s=every_s, name=self.name)

    @property
    def state(self) -> str:
        return self._poller.state

    async def start(self) -> None:
        """Collect now, and again every `every_s` seconds."""
        self._stopping.clear()
        await self._poller.start()

    async def stop(self) -> None:
        """The chunk in hand is still acknowledged and noted."""
        self._stopping.set()
        await self._poller.stop()

    async def collect(self) -> None:
        """Read what is new in the folder. A file that can't be read is said and doesn't hold up the others.

        Raises what the way to Kafka or the database raises.
        """
        done: set[tuple[Path, Stamp | None]] = set()
        for turn in itertools.count():
            files = [(path, stamp_of(path)) for path in await asyncio.to_thread(self._files)]
            growing = [
                path for path, stamp in files if not ((path, stamp) in done or await self._is_done_with(path, stamp))
            ]
            done |= {(path, stamp) for path, stamp in files if path not in growing}
            if not growing or self._stopping.is_set():
                return
            if turn % max(1, round(_SAY_EVERY_S / self._settled_s)) == 0:
                log.warning("files_still_written", files=[_shown(path.name) for path in growing])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), timeout=self._settled_s)

    async def _is_done_with(self, path: Path, stamp: Stamp | None) -> bool:
        if self._stopping.is_set() or stamp is None:
            return True
        if not self._has_settled(path, stamp):
            return False
        begun = self._clock()
        try:
            await self._collect_file(path, stamp)
        except _StillWritten:
            return False
        except (UnreadableFile, InvalidMessage) as unusable:  # the others are not to blame
            reason = _shown(in_one_line(unusable))
            log.error("file_not_collected", file=_shown(path), reason=reason, exc_info=unusable.__cause__)
            await self._store.raise_unusable(_shown(path), stamp.modified_ns, reason)
            self._observe("refused", begun)
        return True

    def _observe(self, result: str, since: datetime) -> None:
        took_s = (self._clock() - since).total_seconds()
        observe("loanloop_run_duration_seconds", max(took_s, 0.0), kind="collect", result=result)

    def _has_settled(self, path: Path, stamp: Stamp) -> bool:
        before = self._stamps.get(path)
        self._stamps[path] = stamp
        return stamp == before or self._clock().timestamp() - stamp.modified_ns / 1e9 >= self._settled_s

    def _files(self) -> list[Path]:
        if not self._folder.is_dir():
            log.warning("collect_folder_missing", folder=str(self._folder))
            return []
        return sorted(path for path in self._folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())

    async def _collect_file(self, path: Path, stamp: Stamp) -> None:
        file = await _in_thread(path, open_loan_file, path)
        self._reader.check_columns(file.columns)
        try:
            self._reader.check_columns(file.columns, outcomes=True)
        except FileMappingMissing as missing:  # applications alone, or a column that [file] spells in another way
            log.warning("file_without_outcomes", file=_shown(path), reason=_shown(str(missing)))
        sha256 = await _in_thread(path, file_sha256, path)
        progress = await self._store.claim(sha256, _shown(path), file.n_rows)
        if progress.finished:
            return
        log.info("file_collecting", file=_shown(path), rows=file.n_rows, rows_done=progress.rows_done)
        if await self._read_on(file, stamp, sha256, progress):
            done = await self._store.finish(sha256)
            self._observe("ok", done.started_at)
            log.info("file_collected", file=_shown(path), produced=done.n_produced, refused=done.n_refused)

    async def _read_on(self, file: LoanFile, stamp: Stamp, sha256: bytes, progress: Progress) -> bool:
        """Whether the end was reached. Raises _StillWritten before anything of a changed file is sent."""
        source = f"file:{_shown(file.path.name)}@{sha256.hex()[:12]}"
        chunks = file.chunks()
        while chunk := await _in_thread(file.path, next, chunks, None):
            if self._stopping.is_set():
                return False
            if stamp_of(file.path) != stamp:
                raise _StillWritten
            last = chunk.first + len(chunk.rows) - 1
            if last <= progress.rows_done:
                continue
            part = await _in_thread(file.path, self._events, file.path, chunk, source, progress.started_at)
            await self._publish([(event.key, event.value) for event in part.events])
            await self._store.advance(sha256, last, len(part.events), part.refused)
            count("loanloop_collected_rows_total", len(part.events), result="produced")
            count("loanloop_collected_rows_total", len(part.refused), result="refused")
        if stamp_of(file.path) != stamp:
            raise _StillWritten  # cut off behind the last chunk, say: what was read is not the file
        return True

    def _events(self, path: Path, chunk: Chunk, source: str, now: datetime) -> _Slice:
        part = _Slice()

        def refuse(row: RefusedRow) -> None:
            place = place_in(path, row.number)
            log.warning("row_refused", file=source, place=place, field=row.field, value=row.value, rule=row.rule)
            part.refused.append(_refused_row(row, place, chunk.rows[row.number - chunk.first], source))

        part.events.extend(
            loan_events(chunk.rows, self._reader, now=now, history=True, refuse=refuse, first=chunk.first)
        )
        return part


async def _in_thread(path: Path, work: Callable[..., Result], *args: object) -> Result:
    """What is done with the file alone. Raises UnreadableFile for what nobody foresaw: no other file is to blame."""
    try:
        return await asyncio.to_thread(work, *args)
    except (UnreadableFile, InvalidMessage):
        raise
    except Exception as unforeseen:
        raise UnreadableFile(path, in_one_line(unforeseen)) from unforeseen


def _shown(name: Path | str) -> str:
    """A file's name, or what is said of its content, need not be fit to be stored and printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(name))


def _refused_row(refused: RefusedRow, place: str, row: Row | RefusedRow | None, source: str) -> RefusedFileRow:
    kept = row.row if isinstance(row, RefusedRow) else row
    content = b"" if kept is None else json.dumps(kept, default=str).encode()
    return RefusedFileRow(
        source=source,
        number=refused.number,
        field=refused.field,
        rule=refused.rule,
        message=f"{source.removeprefix('file:')}, {place}: {refused.in_words}",
        content=content,
    )
