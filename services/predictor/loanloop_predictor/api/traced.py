"""A span for each request but those that look whether the service is well. Only where spans are made at all."""

from loanloop_common.trace_context import HEADER, traceparent_of_request
from loanloop_common.tracing import begin_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOOKS = {"/health", "/alive", "/metrics"}
_HEADER = HEADER.encode()


class Traced:
    """The span's traceparent takes the place of the request's: what follows from the request hangs on the span."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _LOOKS:
            await self._app(scope, receive, send)
            return
        method, status = scope["method"], 0
        made = begin_span(
            method, {"http.request.method": method}, kind="server", parent=traceparent_of_request(scope["headers"])
        )
        inner = {**scope, "headers": _with_traceparent(scope["headers"], made.traceparent)}

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            with made.current():
                await self._app(inner, receive, noted)
        finally:
            route = getattr(inner.get("route"), "path", None)
            made.rename(f"{method} {route}" if route else method)
            made.note(**{"http.route": route or "", "http.response.status_code": status})
            if status >= 500 or not status:
                made.failed("no answer" if not status else f"status {status}")
            made.end()


def _with_traceparent(headers: list[tuple[bytes, bytes]], traceparent: str | None) -> list[tuple[bytes, bytes]]:
    others = [(name, value) for name, value in headers if name != _HEADER]
    return others if traceparent is None else [*others, (_HEADER, traceparent.encode())]
