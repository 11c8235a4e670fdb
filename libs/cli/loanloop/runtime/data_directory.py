"""The folder of an installation (.loanloop): whose it is, its lock, and run.json, by which others find what runs."""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loanloop.runtime.begun import Begun
from loanloop.runtime.ports import AssignedPorts
from loanloop.runtime.problems import CannotRun

MARKER = "loanloop.json"
FORMAT = 1
NEEDED_BYTES = 1 << 30
# What may lie in the folder before its first use: the demo keeps an installation of its own there.
NOT_OURS_BUT_WELCOME = {"demo", "lock", ".gitignore"}


@dataclass(frozen=True, kw_only=True)
class RunState:
    """run.json. Holds no password: `postgres_dsn_file` names the file (mode 600) that does."""

    pid: int
    started_at: str
    ports: AssignedPorts
    kafka_bootstrap: str
    postgres_dsn_file: str
    rest_url: str
    page_url: str = ""  # empty where none was started
    logs: str
    kafka_jars: str = ""  # empty where Kafka is not our own
    java: str = ""
    pids: dict[str, int] = field(default_factory=dict)
    portfolio: str | None = None
    begun: Begun | None = None  # as soon as all was ready once

    def postgres_dsn(self) -> str:
        return Path(self.postgres_dsn_file).read_text().strip()


class DataDirectory:
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[int]:
        """Checks and prepares the folder and holds its lock; yields the lock's descriptor.

        Raises CannotRun if the folder is not ours, is in use, or its disk is full.
        """
        self._prepare()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            await self._lock(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _prepare(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            entries = {entry.name for entry in self.path.iterdir()}
            self._check_owner(entries)
            self._check_space()
            self.logs.mkdir(exist_ok=True)
            if MARKER not in entries:
                write_private(self.path / MARKER, json.dumps({"format": FORMAT, "created_at": now()}))
        except OSError as error:
            reason = error.strerror or error
            raise CannotRun(
                f"The folder {self.path} cannot be used ({reason}): name another with --data-dir."
            ) from error

    def _check_owner(self, entries: set[str]) -> None:
        if MARKER in entries:
            written = json.loads((self.path / MARKER).read_text())
            if written.get("format") != FORMAT:
                raise CannotRun(
                    f"{self.path} was made by another version of loanloop: "
                    "use that one, or name another folder with --data-dir."
                )
        elif entries - NOT_OURS_BUT_WELCOME:
            raise CannotRun(
                f"{self.path} holds files that are not loanloop's: name an empty or a new folder with --data-dir."
            )

    def _check_space(self) -> None:
        free = shutil.disk_usage(self.path).free
        if free < NEEDED_BYTES:
            raise CannotRun(
                f"The disk of {self.path} has only {free >> 20} MiB free and loanloop needs {NEEDED_BYTES >> 20}: "
                "free some space or name a folder on another disk with --data-dir."
            )

    async def _lock(self, descriptor: int) -> None:
        """Waits while a killed run's supervisor still stops its children; a living run is an error."""
        for _ in range(100):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            run = self.read_run()
            if run and is_alive(run.pid):
                break
            await asyncio.sleep(0.1)
        pid = f" (process {run.pid}, {run.rest_url})" if (run := self.read_run()) else ""
        raise CannotRun(
            f"loanloop already runs on {self.path}{pid}: stop it first, or name another folder with --data-dir."
        )

    def read_run(self) -> RunState | None:
        """The run that is going on, or the latest one; see `running_state` for the former alone."""
        try:
            written: dict[str, Any] = json.loads((self.path / "run.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        begun = written.get("begun") and Begun(**written["begun"])
        return RunState(**(written | {"ports": AssignedPorts(**written["ports"]), "begun": begun}))

    def write_run(self, run: RunState) -> None:
        write_private(self.path / "run.json", json.dumps(asdict(run), indent=2))


def running_state(data_dir: Path) -> RunState | None:
    """What runs on this data folder now, found by its lock; None if nothing does."""
    directory = DataDirectory(data_dir)
    run = directory.read_run()
    if run is None:
        return None
    with (directory.path / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return run
    return None


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_private(path: Path, text: str) -> None:
    """Replaces the file in one step, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
