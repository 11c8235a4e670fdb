"""Connections on which nobody asks are closed: whoever sends half a request, or none, shall not take others' room."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from loanloop_predictor.api.time_limit import Deadlines

MAX_HEAD_BYTES = 65_536
MAX_PIPELINED = 16


def protocol_with_head_limits(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's, which takes a request's head of so many bytes within so many seconds, else closes the connection.

    uvicorn itself closes only where nothing at all comes after an answer. A body has a limit of its own.
    """

    class WithinSeconds(HeadWithinLimits):
        silent = Deadlines["HeadWithinLimits"](seconds, lambda connection: connection.transport.close())

    return WithinSeconds


class HeadWithinLimits(HttpToolsProtocol):
    """All of a request but its body counts as head, and as much again as its body has: trailers and chunks' sizes too.

    Trailers are not kept. Who asks ever on without waiting for answers is closed as well. What is overridden has the
    public names by which asyncio and httptools call it.
    """

    silent: Deadlines["HeadWithinLimits"]
    is_in_head = False
    n_head_bytes = 0
    n_body_bytes = 0
    _n_body_bytes_read = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parser: UpgradesIgnored = UpgradesIgnored(self)  # type: ignore[assignment]  # httptools' but for that

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.silent.begin(self)

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:  # the rest of an answered request is no head either
            self.silent.begin(self)
        self._n_body_bytes_read = 0
        super().data_received(data)
        self.n_head_bytes += len(data) - self._n_body_bytes_read
        if self.n_head_bytes > MAX_HEAD_BYTES + self.n_body_bytes:
            self.transport.close()

    def on_message_begin(self) -> None:
        self.is_in_head, self.n_head_bytes, self.n_body_bytes = True, 0, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.stops_here():
            return
        self.is_in_head = False
        self.silent.discard(self)
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        self.n_body_bytes += len(body)
        self._n_body_bytes_read += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.stops_here():
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.silent.discard(self)
        super().connection_lost(exc)


class UpgradesIgnored:
    """httptools' parser, for which a wish for another protocol does not end the request (RFC 9110, 7.8).

    Java's client has that wish in each request that is not made over TLS; httptools takes what follows the head for the
    other protocol's. Such a head is read again without it.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self._parser = _made_for(protocol)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def stops_here(self) -> bool:
        return bool(self._parser.should_upgrade())

    def should_upgrade(self) -> bool:
        return False

    def feed_data(self, data: bytes) -> None:
        """Raises httptools.HttpParserError."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            head = self._head()
            self._parser = _made_for(self._protocol)
            self.feed_data(head + data[stopped.args[0] :])

    def _head(self) -> bytes:
        method = self._parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("a proxy is asked for")
        first = b"%s %s HTTP/%s" % (method, self._protocol.url, self._parser.get_http_version().encode())
        headers = [b"%s: %s" % header for header in self._protocol.headers if header[0] != b"upgrade"]
        return b"\r\n".join([first, *headers, b"", b""])


def _made_for(protocol: HttpToolsProtocol) -> Any:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn makes it
    return parser
