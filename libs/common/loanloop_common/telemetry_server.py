"""`GET /metrics`, `/health` and `/alive` of a service that has no other web server: the standard library's, in threads.

A page takes milliseconds to make, which the event loop must not spend.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import structlog

from loanloop_common.instances import AT_WORK
from loanloop_common.listening import listening_socket, url_of
from loanloop_common.telemetry import CONTENT_TYPE, metrics_page

log = structlog.get_logger()

PartStates = Callable[[], Mapping[str, str]]

_REQUEST_WITHIN_S = 10.0
_STOP_LOOK_S = 0.1


def health_of(states: Mapping[str, str]) -> tuple[HTTPStatus, dict[str, Any]]:
    """503 where a part is not at work, and which."""
    idle = {name: state for name, state in states.items() if state not in AT_WORK}
    status = HTTPStatus.SERVICE_UNAVAILABLE if idle or not states else HTTPStatus.OK
    return status, {
        "status": "ok" if status == HTTPStatus.OK else "degraded",
        "not_at_work": idle,
        "parts": dict(states),
    }


class TelemetryServer:
    name = "telemetry"

    def __init__(self, states: PartStates, *, host: str, port: int, stands_after_s: float = 30.0) -> None:
        """Listens from now on, answers from `start` on. Raises PortTaken.

        `stands_after_s`: an event loop that has not turned for so long is not alive.
        """
        self._socket = listening_socket(host, port, setting="LOANLOOP_TELEMETRY__PORT")
        self._socket.listen()
        self.url = url_of(host, self._socket)
        self._server = _Server(states, self._socket, stands_after_s)
        self._running: threading.Thread | None = None
        self._turning: asyncio.TimerHandle | None = None

    @property
    def state(self) -> str:
        return "serving" if self._running and self._running.is_alive() else "stopped"

    def _turn(self) -> None:
        self._server.turned_at = time.monotonic()
        loop = asyncio.get_running_loop()
        self._turning = loop.call_later(self._server.stands_after_s / 10, self._turn)

    async def start(self) -> None:
        self._turn()
        self._running = threading.Thread(
            target=self._server.serve_forever, args=(_STOP_LOOK_S,), name=self.name, daemon=True
        )
        self._running.start()

    async def stop(self) -> None:
        """An answer that is under way is not waited for: nobody's work depends on it."""
        if self._running:
            # shutdown() waits for the thread's next look, a tenth of a second.
            await asyncio.to_thread(self._server.shutdown)
        if self._turning:
            self._turning.cancel()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, states: PartStates, listening: socket.socket, stands_after_s: float) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.states = states
        self.stands_after_s = stands_after_s
        self.turned_at = time.monotonic()

    def alive(self) -> tuple[HTTPStatus, dict[str, Any]]:
        """503 where the event loop stands, which only a restart mends."""
        stood_s = time.monotonic() - self.turned_at
        if stood_s > self.stands_after_s:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"status": "stands still", "for_s": round(stood_s, 1)}
        return HTTPStatus.OK, {"status": "alive"}

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the library's names
        """A client that hangs up in the middle is no news."""
        log.debug("telemetry_request_failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "loanloop"
    sys_version = ""
    timeout = _REQUEST_WITHIN_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE, metrics_page())
        elif path == "/health":
            status, health = health_of(self.server.states())
            self._answer(status, "application/json", msgspec.json.encode(health))
        elif path == "/alive":
            status, alive = self.server.alive()
            self._answer(status, "application/json", msgspec.json.encode(alive))
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"GET /metrics, /health or /alive\n")

    do_HEAD = do_GET  # noqa: N815  # a probe that wants no body

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes come every few seconds."""
