"""The process that owns Kafka, PostgreSQL and the services, and ends them when its parent is gone.

Run as `python -I -S supervisor.py SOCKET_FD`; `children.py` is its other end. Standard library only.
The socket carries JSON lines; its end means that the parent is gone, however it went. On Linux every child also
gets PR_SET_PDEATHSIG, should this process be killed, and whatever a child leaves behind is adopted and killed.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 4.0
IS_LINUX = sys.platform == "linux"


class Supervisor:
    def __init__(self, parent: socket.socket) -> None:
        self.parent = parent
        self.children: dict[int, tuple[subprocess.Popen[bytes], int]] = {}  # pid: (process, stop signal)
        self.stopping = False

    def run(self) -> None:
        """Serves the parent until it closes the socket or dies, then ends every child."""
        wake = wake_on_signals()
        with selectors.DefaultSelector() as selector:
            selector.register(self.parent, selectors.EVENT_READ)
            selector.register(wake, selectors.EVENT_READ)
            pending = b""
            while not self.stopping:
                for key, _ in selector.select():
                    if key.fileobj is wake:
                        self.stopping = signal.SIGTERM in wake.recv(4096)
                        self.reap()
                    else:
                        pending = self.obey(pending)
        self.end_all(wake)

    def obey(self, pending: bytes) -> bytes:
        received = receive(self.parent)
        if not received:
            self.stopping = True
        *lines, rest = (pending + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if request["op"] == "start":
                self.start(request)
            else:
                self.send_signal(request["pid"], request["signal"])
        return rest

    def start(self, request: dict[str, Any]) -> None:
        try:
            with Path(request["log"]).open("ab") as log:
                process = subprocess.Popen(
                    request["argv"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=request["cwd"],
                    env=os.environ | request["env"],  # noqa: TID251 - handed down, not read
                    user=request["uid"],
                    group=request["gid"],
                    extra_groups=None if request["gid"] is None else [],
                    start_new_session=True,
                    preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
                )
        except OSError as error:
            self.tell(event="failed", id=request["id"], error=str(error))
            return
        self.children[process.pid] = (process, request["stop_signal"])
        self.tell(event="started", id=request["id"], pid=process.pid)

    def send_signal(self, pid: int, number: int) -> None:
        if pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def reap(self) -> None:
        """Takes note of ended children; what they left behind dies before their end is told."""
        ended = [(pid, code) for pid, (process, _) in self.children.items() if (code := process.poll()) is not None]
        for pid, _ in ended:
            del self.children[pid]
            kill_group(pid)
        kill_orphans(keep=self.children.keys())
        for pid, code in ended:
            self.tell(event="exited", pid=pid, code=code)

    def end_all(self, wake: socket.socket) -> None:
        for pid, (_, stop_signal) in list(self.children.items()):
            self.send_signal(pid, stop_signal)
        deadline = time.monotonic() + GRACE_S
        wake.settimeout(0.2)
        while self.children and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                wake.recv(4096)
            self.reap()
        for process, _ in list(self.children.values()):
            process.kill()
            process.wait()
        self.reap()

    def tell(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # the parent is gone: `obey` sees the end of the socket
            self.parent.sendall(json.dumps(message).encode() + b"\n")


def receive(parent: socket.socket) -> bytes:
    try:
        return parent.recv(65536)
    except ConnectionResetError:
        return b""


def wake_on_signals() -> socket.socket:
    wake, trigger = socket.socketpair()
    trigger.setblocking(False)
    signal.set_wakeup_fd(trigger.detach(), warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):  # the parent decides when to stop
        signal.signal(number, signal.SIG_IGN)
    return wake


def prctl(option: int, value: int) -> None:
    if IS_LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def die_with_parent() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def kill_orphans(keep: Any) -> None:
    """Kills, to the last generation, the processes that this one adopted as subreaper."""
    while orphans := [pid for pid in adopted() if pid not in keep]:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def adopted() -> list[int]:
    me = os.getpid()
    stats = (path.parent for path in Path("/proc").glob("[0-9]*/stat")) if IS_LINUX else ()
    return [int(process.name) for process in stats if parent_of(process) == me]


def parent_of(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


if __name__ == "__main__":
    os.umask(0o077)  # logs and data hold loans: for their owner alone
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    Supervisor(socket.socket(fileno=int(sys.argv[1]))).run()
