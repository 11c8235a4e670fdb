"""The short way to an endpoint. The framework's costs a lone loan more than reading, scoring and storing it.

The route stays: it describes the endpoint in OpenAPI, and it is its function that answers.
"""

from collections.abc import Collection

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from loanloop_predictor.api.errors import error_answer


class Direct:
    """Answers POST to these paths itself and leaves the rest to `app`.

    For endpoints that take the request and return a response, with no dependency and no middleware between.
    """

    def __init__(self, app: FastAPI, paths: Collection[str]) -> None:
        self._app: ASGIApp = app
        routes = (route for route in app.routes if isinstance(route, APIRoute) and "POST" in (route.methods or ()))
        self._routes = {route.path: route for route in routes if route.path in paths}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as error:  # noqa: BLE001  # whatever it is, it is answered in one shape
            response = await error_answer(request, error)
        await response(scope, receive, send)
