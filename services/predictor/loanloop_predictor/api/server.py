"""uvicorn as one part of the service: started and drained with the others, the signals left to the service."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from loanloop_common.background import in_background
from loanloop_common.errors import LoanloopError, in_one_line
from loanloop_common.listening import listening_socket, url_of
from starlette.types import ASGIApp

from loanloop_predictor.api.connections import protocol_with_head_limits

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
BACKLOG = 2048  # who comes before `start`, or all at once, waits here
_ONLY_TLS = {"strict-transport-security": "max-age=31536000"}


class TlsUnusable(LoanloopError):
    """Certificate and key can't be read, or don't belong together."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    cert: Path
    key: Path


class RestServer:
    name = "rest"

    def __init__(
        self, app: ASGIApp, *, host: str, port: int, head_within_s: float, drain_s: int, tls: TlsFiles | None = None
    ) -> None:
        """Listens from now on, answers from `start` on. Raises PortTaken or TlsUnusable."""
        if tls:
            _check(tls)
        self._socket = listening_socket(host, port, setting="LOANLOOP_PREDICTOR__PORT")
        self._socket.listen(BACKLOG)
        self.url = url_of(host, self._socket, scheme="https" if tls else "http")
        headers = SECURITY_HEADERS | (_ONLY_TLS if tls else {})
        config = uvicorn.Config(
            app,
            http=protocol_with_head_limits(head_within_s),
            log_config=None,
            log_level=logging.ERROR,  # of uvicorn's own lines: its warnings are of requests that are none, one for each
            ws="none",
            backlog=BACKLOG,
            access_log=False,
            lifespan="off",
            proxy_headers=False,  # nothing asks who the client is
            server_header=False,
            ssl_certfile=tls.cert if tls else None,
            ssl_keyfile=tls.key if tls else None,
            headers=list(headers.items()),  # once for all answers: a middleware would cost each its time
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


def _check(tls: TlsFiles) -> None:
    try:
        # Without a password of its own the library would ask for it on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key, password=lambda: "")
    except OSError as cause:  # of ssl's errors as well
        raise TlsUnusable(
            f"the certificate {tls.cert} with the key {tls.key} cannot be used ({in_one_line(cause)}); set "
            "LOANLOOP_PREDICTOR__TLS_CERT and LOANLOOP_PREDICTOR__TLS_KEY to PEM files that belong together"
        ) from cause
