"""The routes of the page."""

from collections.abc import Awaitable, Callable, Collection, Mapping

import msgspec
from loanloop_common.telemetry_server import health_of
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from loanloop.observe.for_machines import as_json
from loanloop.page.document import Document
from loanloop.page.looking import Seen
from loanloop.page.sections import sections_of

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def make_app(
    newest: Callable[[], Awaitable[Seen]], document: Document, states: Callable[[], Mapping[str, str]] = dict
) -> ASGIApp:
    """`states`: of its parts, of which /health tells."""

    async def page(_: Request) -> Response:
        return HTMLResponse(document.filled(sections_of(await newest())))

    async def sections(_: Request) -> Response:
        """What the page's script puts into its places."""
        return JSONResponse(sections_of(await newest()))

    async def snapshot(_: Request) -> Response:
        """For machines: as `loanloop status --json`."""
        seen = await newest()
        facts = {"problem": seen.problem, "snapshot": as_json(seen.snapshot) if seen.snapshot else None}
        return Response(msgspec.json.encode(facts), media_type="application/json")

    async def health(_: Request) -> Response:
        status, said = health_of({"page": "serving", **states()})
        return JSONResponse(said, status_code=status)

    routes = {"/": page, "/sections.json": sections, "/snapshot.json": snapshot, "/health": health}
    app = Starlette(routes=[Route(path, answer, methods=["GET"]) for path, answer in routes.items()])
    return GZipMiddleware(app, minimum_size=2000)


class OnlyFor:
    """Answers under these names alone: a page of elsewhere may let its own name point here, and would read along."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _name_asked(scope) not in self._names:
            said = "Without keys this page answers on loopback alone: open it as http://127.0.0.1 and its port.\n"
            await PlainTextResponse(said, status_code=421)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _name_asked(scope: Scope) -> str:
    host: str = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
