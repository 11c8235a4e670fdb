"""HTTP load from a process of its own, so that it costs the server none of its time but that of the cores they share.

`put_load` runs `python bench/http_load.py FOLDER` and reads what it noted of each answer. Clients keep their
connections. Without a rate each sends its next request when the answer is there; with one, requests are due at equal
distances, wait for a free client, and their latency counts from when they were due.
"""

import asyncio
import json
import resource
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import uvloop

if TYPE_CHECKING:  # a process that notes what its processor time was imports nothing of the product
    from loanloop_common.features import Floats

_HEADERS_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_TICK_S = 0.001
_ANSWER_WITHIN_S = 30.0


@dataclass(frozen=True)
class Load:
    """`rate`: requests a second; None for as many as the clients get answered."""

    url: str
    path: str
    clients: int
    seconds: float
    rate: float | None = None


@dataclass(frozen=True)
class Answers:
    """In the order in which they came. Times are of the machine's monotonic clock; `cpu_s` is what the load cost."""

    ended_at: "Floats"
    latency_s: "Floats"
    status: npt.NDArray[np.int64]
    cpu_s: float

    def between(self, *times: tuple[float, float]) -> "Answers":
        """Those that were due or waited for in one of the times, however late they came: slow ones weigh more so."""
        due_at = self.ended_at - self.latency_s
        chosen = np.zeros(len(self.ended_at), bool)
        for began, ended in times:
            chosen |= (self.ended_at >= began) & (due_at < ended)
        return Answers(self.ended_at[chosen], self.latency_s[chosen], self.status[chosen], self.cpu_s)

    def after_warm_up(self, seconds: float) -> "Answers":
        return self.between((self.ended_at[0] + seconds, np.inf))

    @property
    def n_failed(self) -> int:
        return int((self.status != 200).sum())

    @property
    def per_s(self) -> float:
        """Answers with status 200, over the time from the first of all to the last."""
        seconds = float(self.ended_at[-1] - self.ended_at[0])
        return max(len(self.status) - self.n_failed - 1, 0) / seconds if seconds else 0.0

    def n_good_within(self, *times: tuple[float, float]) -> int:
        """Answers with status 200 that came in one of the times, which don't overlap."""
        good_at = self.ended_at[self.status == 200]
        return sum(int(((good_at >= began) & (good_at < ended)).sum()) for began, ended in times)

    def latency_ms(self, percentile: float) -> float:
        return float(np.percentile(self.latency_s, percentile)) * 1000


async def put_load(load: Load, bodies: Sequence[bytes], *, stop: asyncio.Event | None = None) -> Answers:
    """Sends the bodies in turn, each of which is one line of JSON. `stop` ends it before its time."""
    with tempfile.TemporaryDirectory(prefix="loanloop-load-") as name:
        folder = Path(name)
        (folder / "order.json").write_text(json.dumps(asdict(load)))
        (folder / "bodies").write_bytes(b"\n".join(bodies))
        process = await asyncio.create_subprocess_exec(sys.executable, __file__, str(folder))
        stopping = asyncio.create_task(_stop_on(stop, process)) if stop else None
        code = await process.wait()
        if stopping:
            stopping.cancel()
        if code:
            raise RuntimeError(f"no load could be put on {load.url}")
        noted = np.load(folder / "answers.npy")
        cpu_s = json.loads((folder / "cost.json").read_text())
    return Answers(noted[0], noted[1], noted[2].astype(np.int64), cpu_s)


async def _stop_on(stop: asyncio.Event, process: asyncio.subprocess.Process) -> None:
    await stop.wait()
    process.terminate()


class _Client(asyncio.Protocol):
    def __init__(self, generator: "_Generator") -> None:
        self._generator = generator
        self._received = b""
        self.due = 0.0  # of the request that isn't answered yet
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        due, self.due = self.due, 0.0
        self._generator.lose(self, due)

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._transport.write(request)

    def hang_up(self) -> None:
        self.due = 0.0
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(_HEADERS_END)
        if not found or len(body) < _length_in(head):
            return
        self._received = b""
        due, self.due = self.due, 0.0
        self._generator.note(self, due, int(head[9:12]))


def _length_in(head: bytes) -> int:
    lower = head.lower()
    start = lower.index(_LENGTH) + len(_LENGTH)
    return int(lower[start:].split(b"\r\n", 1)[0])


class _Generator:
    def __init__(self, load: Load, requests: list[bytes]) -> None:
        self._load = load
        self._requests = cycle(requests)
        self._clients: list[_Client] = []
        self._idle: deque[_Client] = deque()
        self._waiting: deque[float] = deque()
        self._ends_at = 0.0
        self._n_open = 0
        self.noted: list[tuple[float, float, int]] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        host, port = self._load.url.removeprefix("http://").split(":")
        for _ in range(self._load.clients):
            _, client = await loop.create_connection(lambda: _Client(self), host, int(port))
            self._clients.append(client)
        self._idle.extend(self._clients)
        self._n_open = self._load.clients
        self._ends_at = time.perf_counter() + self._load.seconds
        loop.add_signal_handler(signal.SIGTERM, self._end_now)
        if self._load.rate is None:
            while self._idle:
                self._send(self._idle.popleft(), time.perf_counter())
        else:
            await self._send_at(self._load.rate)
        await self._all_answered()

    def _end_now(self) -> None:
        self._ends_at = time.perf_counter()

    async def _send_at(self, rate: float) -> None:
        started = time.perf_counter()
        n_sent = 0
        while (now := time.perf_counter()) < self._ends_at:
            while started + n_sent / rate <= now:
                self._waiting.append(started + n_sent / rate)
                n_sent += 1
            self._send_waiting()
            await asyncio.sleep(_TICK_S)

    def _send_waiting(self) -> None:
        while self._waiting and self._idle:
            self._send(self._idle.popleft(), self._waiting.popleft())

    def _send(self, client: _Client, due: float) -> None:
        client.send(next(self._requests), due)

    def note(self, client: _Client, due: float, status: int) -> None:
        now = time.perf_counter()
        self.noted.append((now, now - due, status))
        if self._load.rate is None and now < self._ends_at:
            self._send(client, now)
        else:
            self._idle.append(client)
            self._send_waiting()

    def lose(self, client: _Client, due: float) -> None:
        """An answer that never came is noted as status 0, with the time that it was waited for."""
        self._n_open -= 1
        if due:
            now = time.perf_counter()
            self.noted.append((now, now - due, 0))
        elif client in self._idle:
            self._idle.remove(client)

    async def _all_answered(self) -> None:
        gives_up_at = self._ends_at + _ANSWER_WITHIN_S
        while self._n_open and (now := time.perf_counter()) < gives_up_at:
            if now >= self._ends_at and len(self._idle) == self._n_open:
                break
            await asyncio.sleep(_TICK_S * 10)
        now = time.perf_counter()
        unanswered = [client.due for client in self._clients if client.due] + list(self._waiting)
        self.noted += [(now, now - due, 0) for due in unanswered]
        for client in self._clients:
            client.hang_up()


def _request(load: Load, body: bytes) -> bytes:
    head = (
        f"POST {load.path} HTTP/1.1\r\nHost: {load.url.removeprefix('http://')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    folder = Path(sys.argv[1])
    load = Load(**json.loads((folder / "order.json").read_text()))
    bodies = (folder / "bodies").read_bytes().split(b"\n")
    generator = _Generator(load, [_request(load, body) for body in bodies])
    before = _cpu_s()
    uvloop.run(generator.run())
    (folder / "cost.json").write_text(json.dumps(_cpu_s() - before))
    np.save(folder / "answers.npy", np.array(generator.noted, np.float64).reshape(-1, 3).T)


if __name__ == "__main__":
    main()
