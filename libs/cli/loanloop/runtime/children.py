"""The parent's side of the supervisor: start children, signal them, learn when they end."""

import asyncio
import contextlib
import itertools
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loanloop.runtime.problems import CannotRun

SUPERVISOR = Path(__file__).with_name("supervisor.py")


class SupervisorGone(CannotRun):
    """The process that holds Kafka, PostgreSQL and the services was killed, and they with it: start loanloop again."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run; `account` is a (uid, gid) to drop to, `stop_signal` the polite way to end it."""

    argv: Sequence[str]
    log: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    account: tuple[int, int] | None = None


@dataclass(eq=False)
class Child:
    """A running process. `ended` resolves to its return code, negative for a signal.

    `is_orphan`: it ended because the supervisor was gone, and nothing can be started again.
    """

    pid: int
    command: Command
    ended: asyncio.Future[int]
    is_orphan: bool = False

    @property
    def is_running(self) -> bool:
        return not self.ended.done()

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)


class Children:
    """All child processes of an installation, owned by one supervisor process that outlives a kill -9 of this one."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._requests = itertools.count()
        self._starting: dict[int, tuple[Command, asyncio.Future[Child]]] = {}
        self._running: dict[int, Child] = {}
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def supervised(cls, *, keep_open: Sequence[int] = ()) -> "Children":
        """Starts the supervisor; the descriptors in `keep_open` (the lock) stay open until it ends."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond
                [sys.executable, "-I", "-S", str(SUPERVISOR), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), *keep_open],
                start_new_session=True,
            )
        return cls(process, *await asyncio.open_unix_connection(sock=ours))

    @property
    def supervisor_pid(self) -> int:
        return self._process.pid

    async def start(self, command: Command) -> Child:
        """Raises CannotRun when the program cannot be executed, SupervisorGone when the supervisor was killed."""
        if self._listener.done():
            raise SupervisorGone
        number = next(self._requests)
        started: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._starting[number] = (command, started)
        uid, gid = command.account or (None, None)
        self._send(
            op="start",
            id=number,
            argv=list(command.argv),
            env=dict(command.env),
            cwd=str(command.cwd),
            log=str(command.log),
            stop_signal=int(command.stop_signal),
            uid=uid,
            gid=gid,
        )
        return await started

    def send_signal(self, child: Child, number: signal.Signals) -> None:
        if child.is_running:
            self._send(op="signal", pid=child.pid, signal=int(number))

    async def kill(self, child: Child) -> None:
        """kill -9; returns when it and what it left behind are gone."""
        self.send_signal(child, signal.SIGKILL)
        await child.wait()

    async def stop(self, child: Child, *, within_s: float) -> None:
        """Politely, and after `within_s` seconds by kill -9."""
        self.send_signal(child, child.command.stop_signal)
        try:
            await asyncio.wait_for(child.wait(), within_s)
        except TimeoutError:
            await self.kill(child)

    async def close(self) -> None:
        """Ends the supervisor and with it every child that still runs."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await asyncio.to_thread(self._process.wait)
        self._listener.cancel()
        self._all_gone()

    def _send(self, **request: Any) -> None:
        self._writer.write(json.dumps(request).encode() + b"\n")

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            while line := await self._reader.readline():
                self._take_note(json.loads(line))
        self._all_gone()

    def _take_note(self, message: dict[str, Any]) -> None:
        if message["event"] == "exited":
            self._running.pop(message["pid"]).ended.set_result(message["code"])
            return
        command, started = self._starting.pop(message["id"])
        if message["event"] == "failed":
            started.set_exception(CannotRun(f"Cannot start {command.argv[0]}: {message['error']}"))
            return
        child = Child(message["pid"], command, asyncio.get_running_loop().create_future())
        self._running[child.pid] = child
        if not started.cancelled():
            started.set_result(child)

    def _all_gone(self) -> None:
        for child in self._running.values():
            if child.is_running:
                child.is_orphan = True
                child.ended.set_result(-signal.SIGKILL)
        for _, started in self._starting.values():
            if not started.done():
                started.set_exception(SupervisorGone())
        self._running.clear()
        self._starting.clear()
