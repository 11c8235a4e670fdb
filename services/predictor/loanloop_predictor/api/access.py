"""Lets a request in: who asks, by a key or a token, may they, and how often. Before its body is read."""

import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from loanloop_common.errors import LoanloopError
from loanloop_common.trace_context import trace_of_request
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from loanloop_predictor.api.errors import refusal
from loanloop_predictor.domain.access import Caller, RateLimit, Unauthenticated, check_role, role_needed
from loanloop_predictor.domain.access_keys import PREFIX

log = structlog.get_logger()

CALLER = "loanloop.caller"
NOBODY_ASKED = "anybody"  # where no keys are asked for: on loopback, or behind a proxy that asks
_NOTHING_SENT = "no key was sent: send one as `Authorization: Bearer KEY` or as `X-API-Key: KEY`"
_SAY_AGAIN_S = 1.0

ByKey = Callable[[str], Caller]
ByToken = Callable[[str], Awaitable[Caller]]


def _no_keys(_key: str) -> Caller:
    raise Unauthenticated("no API keys are known here: send a token as `Authorization: Bearer TOKEN`")


async def _no_tokens(_token: str) -> Caller:
    raise Unauthenticated(f"this is no API key of loanloop, which begins with {PREFIX}, and tokens are not taken here")


@dataclass(frozen=True, slots=True)
class Access:
    """`by_key` and `by_token` raise Unauthenticated, `by_token` also Forbidden and Unavailable."""

    rate: RateLimit
    by_key: ByKey = _no_keys
    by_token: ByToken = _no_tokens
    is_metrics_open: bool = False
    clock: Callable[[], float] = time.monotonic


class Guard:
    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self._said_at = -_SAY_AGAIN_S
        self._n_unsaid = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await self._let_in(scope)
            except LoanloopError as refused:
                self._tell(scope, refused)
                await refusal(Request(scope), refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _let_in(self, scope: Scope) -> None:
        access, method, path = self._access, scope["method"], scope["path"]
        needed = role_needed(method, path, is_metrics_open=access.is_metrics_open)
        if needed is None:
            return
        caller = await self._caller(scope)
        check_role(caller, needed, method, path)
        access.rate.take(caller.name, access.clock())
        scope[CALLER] = caller

    async def _caller(self, scope: Scope) -> Caller:
        authorization = key = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"x-api-key":
                key = value
        scheme, _, credentials = authorization.decode("latin-1").partition(" ")
        match scheme.lower():
            case "bearer":
                sent = credentials.strip()
                return self._access.by_key(sent) if sent.startswith(PREFIX) else await self._access.by_token(sent)
            case "basic" if scope["method"] in ("GET", "HEAD"):
                return self._access.by_key(_password(credentials))
        if key:
            return self._access.by_key(key.decode("latin-1").strip())
        raise Unauthenticated(_NOTHING_SENT)

    def _tell(self, scope: Scope, refused: Exception) -> None:
        """One line a second: whoever floods REST does not fill the log."""
        now = self._access.clock()
        if now - self._said_at < _SAY_AGAIN_S:
            self._n_unsaid += 1
            return
        client = (scope.get("client") or ("unknown",))[0]
        log.warning(
            "request_refused",
            method=scope["method"],
            path=scope["path"],
            client=client,
            reason=str(refused),
            others_unsaid=self._n_unsaid,
            **trace_of_request(scope["headers"]),
        )
        self._said_at, self._n_unsaid = now, 0


def _password(credentials: str) -> str:
    """A browser asks for name and password; the key is the password. It sends them along with any site's request, which
    is why nothing can be changed by them."""
    try:
        return base64.b64decode(credentials, validate=True).decode("latin-1").partition(":")[2]
    except ValueError:  # not binascii.Error alone: letters beyond ASCII are refused before they are decoded
        return ""


def caller_in(scope: Scope) -> str | None:
    """Who was let in; None where nobody is asked."""
    caller = scope.get(CALLER)
    return caller.name if isinstance(caller, Caller) else None


def name_of_caller(scope: Scope) -> str:
    return caller_in(scope) or NOBODY_ASKED
