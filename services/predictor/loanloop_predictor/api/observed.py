"""Counts and times every answer, by route and status."""

import time

from loanloop_common.telemetry import observe
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENT_GONE = 499  # no answer was begun: the client had hung up


class Observed:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = CLIENT_GONE

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            status = 500
            raise
        finally:
            # A path that is no route would make one more series for each guess.
            route = getattr(scope.get("route"), "path", "other")
            took_s = time.perf_counter() - started
            observe("loanloop_http_request_duration_seconds", took_s, route=route, status=str(status))
