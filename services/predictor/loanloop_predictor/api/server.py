"""uvicorn as one part of the service: started and drained with the others, the signals left to the service."""

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn
from loanloop_common.background import in_background
from loanloop_common.listening import listening_socket, url_of
from starlette.types import ASGIApp

# The pages under /docs have their script in the page; nothing of any page comes from elsewhere.
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}


class RestServer:
    name = "rest"

    def __init__(self, app: ASGIApp, *, host: str, port: int, drain_s: int) -> None:
        """Listens from now on, answers from `start` on. Raises PortTaken."""
        self._socket = listening_socket(host, port, setting="LOANLOOP_PREDICTOR__PORT")
        self.url = url_of(host, self._socket)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,  # nothing asks who the client is
            server_header=False,
            headers=list(SECURITY_HEADERS.items()),  # once for all answers: a middleware would cost each its time
            timeout_graceful_shutdown=drain_s,
        )
        self._server = _Server(config)
        self._running: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        if self._running is None or self._running.done():
            return "stopped"
        return "serving" if self._server.started else "starting"

    async def start(self) -> None:
        self._running = in_background(self._server.serve(sockets=[self._socket]), name=self.name)

    async def stop(self) -> None:
        """Takes no new connection and lets the requests in flight finish."""
        self._server.should_exit = True
        if self._running:
            await self._running


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
