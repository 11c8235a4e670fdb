"""The page's server: where it listens, who is let in, until it is stopped."""

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from loanloop_common.errors import LoanloopError
from loanloop_common.listening import is_loopback
from starlette.types import ASGIApp

from loanloop.observe.observing import observing
from loanloop.page.document import Document
from loanloop.page.looking import SharedLook
from loanloop.page.web import LOOPBACK_NAMES, OnlyFor, make_app
from loanloop.runtime.data_directory import running_state
from loanloop.runtime.tasks import together

LOOK_AT_KEYS_EVERY_S = 2.0


class CannotServe(LoanloopError):
    """The page can't be served where it was asked for."""


async def serve_page(
    data_dir: Path, *, host: str, port: int, keys_file: Path | None, every_s: float, ready: Callable[[str], None]
) -> None:
    """Until cancelled. Raises CannotServe, and KeysInvalid for a file of keys that is none."""
    if not keys_file and not is_loopback(host):
        raise CannotServe(
            f"on {host} others would see the loans: add --keys-file with a file of `loanloop keys new ID --role read`, "
            "or leave --host out"
        )
    served = _where_up_serves_it(data_dir)
    document, look = Document(), SharedLook(lambda: observing(data_dir), every_s=every_s)
    app = make_app(look.newest, document)
    with listening(host, port, served) as sock:
        if keys_file:
            from loanloop.page.admitting import KeysWatch  # brings the predictor's libraries

            watch = KeysWatch(keys_file)
            server = _server(watch.guarded(app), document)
            more = [watch.run(every_s=LOOK_AT_KEYS_EVERY_S)]
        else:
            server, more = _server(OnlyFor(app, {*LOOPBACK_NAMES, host}), document), []
        ready(f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}")
        await together(server.serve(sockets=[sock]), look.run(), *more)


def _server(app: ASGIApp, document: Document) -> uvicorn.Server:
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", proxy_headers=False, server_header=False,
        headers=list(document.headers.items()),
    )  # fmt: skip
    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler())  # a fault's traceback is not lost
    return _Server(config)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are the command's


def _where_up_serves_it(data_dir: Path) -> str:
    run = running_state(data_dir)
    return f"; `loanloop up` has the page at {run.page_url}" if run and run.page_url else ""


@contextlib.contextmanager
def listening(host: str, port: int, served: str = "") -> Iterator[socket.socket]:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.set_inheritable(False)
            yield sock
    except OSError as cause:
        raise CannotServe(
            f"can't listen on {host}:{port} ({cause.strerror}): free it, or choose another port with --port{served}"
        ) from cause
