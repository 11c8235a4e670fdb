"""Connections on which nobody asks are closed: whoever sends half a request, or none, shall not take others' room."""

import asyncio
import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from loanloop_predictor.api.time_limit import Deadlines

MAX_HEAD_BYTES = 65_536
MAX_PIPELINED = 16
_UPGRADE = re.compile(rb"\r\nupgrade(?=[ \t]*:)", re.IGNORECASE)


def protocol_with_head_limits(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's, which takes a request's head of so many bytes within so many seconds, else closes the connection.

    uvicorn itself closes only where nothing at all comes after an answer. A body has a limit of its own.
    """

    class WithinSeconds(HeadWithinLimits):
        silent = Deadlines["HeadWithinLimits"](seconds, lambda connection: connection.transport.close())

    return WithinSeconds


class HeadWithinLimits(HttpToolsProtocol):
    """Trailers count as a head does and are not kept; who asks ever on without waiting for answers is closed as well.

    What is overridden has the public names by which asyncio and httptools call it.
    """

    silent: Deadlines["HeadWithinLimits"]
    is_in_head = False
    n_head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.silent.begin(self)

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:  # the rest of an answered request is no head either
            self.silent.begin(self)
            data = without_upgrade(data)
        super().data_received(data)
        if self.is_in_head:
            self._count(len(data))

    def on_message_begin(self) -> None:
        self.is_in_head, self.n_head_bytes = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_in_head:
            super().on_header(name, value)
        else:
            self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self.is_in_head = False
        self.silent.discard(self)
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.silent.discard(self)
        super().connection_lost(exc)

    def _count(self, n_bytes: int) -> None:
        self.n_head_bytes += n_bytes
        if self.n_head_bytes > MAX_HEAD_BYTES:
            self.transport.close()


def without_upgrade(data: bytes) -> bytes:
    """A request's beginning, its wish for another protocol under another name: it is ignored (RFC 9110, 7.8).

    Java's client has that wish in each request, and httptools would take the body for the other protocol's.
    """
    if b"pgrade" not in data and b"PGRADE" not in data:
        return data
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-grade", head) + end + rest
