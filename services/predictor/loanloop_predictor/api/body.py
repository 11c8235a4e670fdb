"""Reads a request's body, refusing one that is too large or too slow as soon as that is known, and its JSON."""

import json
import math
from typing import Any

import msgspec
from fastapi import Request
from loanloop_common.errors import InvalidField, InvalidMessage, LoanloopError
from starlette.requests import ClientDisconnect

from loanloop_predictor.api.time_limit import TimeLimit

_TELLING_DIGITS = 20  # so many are too large whatever follows, and Python refuses to read thousands

OF_LOAN = "one loan; send its features alone, and several loans to /predict/batch"
OF_BATCH = "a batch; send fewer loans at once"


class BodyTooLarge(LoanloopError):
    """`of_what` the limit is, and what the sender may do."""

    def __init__(self, max_bytes: int, of_what: str) -> None:
        super().__init__(f"the body is over {max_bytes:,} bytes, the limit of {of_what}")


class BodyTooSlow(LoanloopError):
    def __init__(self, within_s: float) -> None:
        super().__init__(f"the body was not there after {within_s:g} s; no decision is given, send it again")


class NotJson(InvalidMessage):
    """The body is none, or nested deeper than can be followed."""


async def read_body(request: Request, *, max_bytes: int, of_what: str, within: TimeLimit) -> bytes:
    """Raises BodyTooLarge or BodyTooSlow."""
    if (_declared_bytes(request) or 0) > max_bytes:
        raise BodyTooLarge(max_bytes, of_what)
    body = bytearray()
    try:
        with within:
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                if len(body) > max_bytes:
                    raise BodyTooLarge(max_bytes, of_what)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as slow:
        raise BodyTooSlow(within.seconds) from slow


def most_bytes(request: Request, *, max_bytes: int) -> int:
    """That its body can have, of those that `read_body` takes."""
    declared = _declared_bytes(request)
    return max_bytes if declared is None else min(declared, max_bytes)


def _declared_bytes(request: Request) -> int | None:
    """None where nothing is."""
    declared = next((value for name, value in request.scope["headers"] if name == b"content-length"), b"")
    return int(declared.lstrip(b"0")[:_TELLING_DIGITS] or b"0") if declared.isdigit() else None


def parsed(body: bytes) -> tuple[Any, bool]:
    """The body's value, and whether JSON can hold each value in it. Raises NotJson.

    A number or text that no JSON value can hold is left in place, as infinity or with lone surrogates, so that
    `refuse_unholdable` can name it.
    """
    try:
        return msgspec.json.decode(body), True
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        try:
            return json.loads(body.decode(errors="surrogateescape"), parse_int=_whole), False
        except (ValueError, RecursionError):
            raise NotJson(f"the body is not JSON: {broken}") from broken


def _whole(digits: str) -> int | float:
    """Infinity where Python refuses to read so many digits."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def refuse_unholdable(value: Any, path: tuple[str, ...] = ()) -> None:
    """Raises InvalidField where `parsed` has left what no JSON value can hold.

    The path is put together only for the error: a long name would be held once more by each level below it.
    """
    match value:
        case float() if not math.isfinite(value):
            raise InvalidField(".".join(path), value, "must be a number that 64 bits can hold")
        case str() if not _is_unicode(value):
            raise InvalidField(".".join(path), value, "must be valid Unicode")
        case dict():
            for name, part in value.items():
                refuse_unholdable(name, path)
                refuse_unholdable(part, (*path, name))
        case list():
            for part in value:
                refuse_unholdable(part, path)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
