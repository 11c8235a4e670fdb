"""Connections on which nobody asks are closed: whoever sends half a request, or none, shall not take others' room."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from loanloop_predictor.api.time_limit import Deadlines

MAX_HEAD_BYTES = 65_536


def protocol_with_head_limits(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's, which takes a request's head of so many bytes within so many seconds, else closes the connection.

    uvicorn itself closes only where nothing at all comes after an answer. What is overridden has the public names by
    which asyncio and httptools call it. A body has a limit of its own.
    """
    silent = Deadlines["HeadWithinLimits"](seconds, lambda connection: connection.transport.close())

    class HeadWithinLimits(HttpToolsProtocol):
        is_in_head = False
        n_head_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
            super().connection_made(transport)
            silent.begin(self)

        def data_received(self, data: bytes) -> None:
            if self.cycle is None or self.cycle.response_complete:  # the rest of an answered request is no head either
                silent.begin(self)
            super().data_received(data)
            if self.is_in_head:
                self.n_head_bytes += len(data)
                if self.n_head_bytes > MAX_HEAD_BYTES:
                    self.transport.close()

        def on_message_begin(self) -> None:
            self.is_in_head, self.n_head_bytes = True, 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self.is_in_head = False
            silent.discard(self)
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            silent.discard(self)
            super().connection_lost(exc)

    return HeadWithinLimits
