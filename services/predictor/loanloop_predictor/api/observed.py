"""Counts and times every answer, by the route's path."""

import time

from loanloop_common.telemetry import count, observe
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
            path = getattr(scope.get("route"), "path", "other")
            count("loanloop_predictor_requests_total", path=path, status=str(status))
            observe("loanloop_predictor_request_seconds", time.perf_counter() - started, path=path)
