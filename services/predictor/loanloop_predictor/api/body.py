"""Reads a request's body, refusing one over the limit as soon as that is known, and its JSON."""

from typing import Any

import msgspec
from fastapi import Request
from loanloop_common.errors import InvalidMessage, LoanloopError


class BodyTooLarge(LoanloopError):
    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the body is over {max_bytes:,} bytes; send fewer loans at once")


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Raises BodyTooLarge."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise BodyTooLarge(max_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise BodyTooLarge(max_bytes)
    return bytes(body)


def parsed(body: bytes) -> Any:
    """Raises InvalidMessage."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        raise InvalidMessage(f"the body is not JSON: {broken}") from broken
