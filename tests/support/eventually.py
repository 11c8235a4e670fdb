"""Waiting for what an asynchronous system will come to, with a deadline instead of sleeps."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T | None]], *, within_s: float = ..., every_s: float = ..., what: str = ...
) -> T: ...
@overload
async def eventually(
    condition: Callable[[], T | None], *, within_s: float = ..., every_s: float = ..., what: str = ...
) -> T: ...
async def eventually(
    condition: Callable[[], Any], *, within_s: float = 20.0, every_s: float = 0.05, what: str = ""
) -> Any:
    """The condition's value once it is true. An AssertionError in it counts as not yet, and is raised at the end."""
    deadline = time.monotonic() + within_s
    while True:
        failed: AssertionError | None = None
        value = None
        try:
            answer = condition()
            value = await answer if inspect.isawaitable(answer) else answer
        except AssertionError as error:
            failed = error
        if value:
            return value
        if time.monotonic() > deadline:
            raise failed or AssertionError(f"{what or 'the condition'} did not hold within {within_s} s: {value!r}")
        await asyncio.sleep(every_s)
