"""The page's server: where it listens, who is let in, until it is stopped."""

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from loanloop_common.errors import LoanloopError
from loanloop_common.listening import PortTaken, is_loopback, listening_socket, url_of
from starlette.types import ASGIApp

from loanloop.observe.observing import observing
from loanloop.page.document import Document
from loanloop.page.looking import SharedLook
from loanloop.page.web import LOOPBACK_NAMES, OnlyFor, make_app
from loanloop.runtime.data_directory import running_state
from loanloop.runtime.tasks import together


class CannotServe(LoanloopError):
    """The page can't be served where it was asked for."""


async def serve_page(
    data_dir: Path, *, host: str, port: int, keys_file: Path | None, every_s: float, ready: Callable[[str], None]
) -> None:
    """Until cancelled. Raises CannotServe or PortTaken, and KeysInvalid for a file of keys that is none."""
    if not keys_file and not is_loopback(host):
        raise CannotServe(
            f"on {host} others would see the loans: add --keys-file with a file of `loanloop keys new ID --role read`, "
            "or leave --host out"
        )
    document, look = Document(), SharedLook(lambda: observing(data_dir), every_s=every_s)
    with _listening(data_dir, host, port) as sock:
        if keys_file:
            from loanloop.page.access import KeysWatch  # brings the predictor's libraries

            watch = KeysWatch(keys_file)
            app = watch.guarded(make_app(look.newest, document, watch.states))
            more = [watch.run()]
        else:
            app, more = OnlyFor(make_app(look.newest, document), {*LOOPBACK_NAMES, host}), []
        ready(url_of(host, sock))
        await together(_server(app, document).serve(sockets=[sock]), look.run(), *more)


def _server(app: ASGIApp, document: Document) -> uvicorn.Server:
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", proxy_headers=False, server_header=False, ws="none",
        headers=list(document.headers.items()),
        log_level=logging.ERROR,  # of uvicorn's own lines: its warnings are of requests that are none, one for each
    )  # fmt: skip
    return _Server(config)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are the command's


def _listening(data_dir: Path, host: str, port: int) -> socket.socket:
    """Raises PortTaken, or CannotServe where `loanloop up` has a page already."""
    try:
        return listening_socket(host, port, setting="--port")
    except PortTaken as taken:
        run = running_state(data_dir)
        if run and run.page_url:
            raise CannotServe(f"{taken}; `loanloop up` has the page at {run.page_url}") from taken
        raise
