"""uvicorn's protocol, but for one thing: the head of an answer leaves with its body, in one packet instead of two.

Each is a call of the system here and another one for the client.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_CONTINUE = b"HTTP/1.1 100 "  # comes before the head, and is waited for


class HeadWithBody:
    """The transport of one answer. Holds its head, the first to be written, until the body comes or nothing will."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self._has_head = False

    def write(self, data: bytes) -> None:
        if self._has_head:
            head, self._head = self._head, None
            self._transport.write(head + data if head else data)
        elif data.startswith(_CONTINUE):
            self._transport.write(data)
        else:
            self._head, self._has_head = data, True

    def flush(self) -> None:
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class OneWriteProtocol(HttpToolsProtocol):
    _answering: HeadWithBody  # of the requests of a connection one is answered at a time

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = HeadWithBody(cycle.transport)
        cycle.transport = cast("asyncio.Transport", self._answering)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer to HEAD has no body that its head could go with."""
        self._answering.flush()
        super().on_response_complete()
