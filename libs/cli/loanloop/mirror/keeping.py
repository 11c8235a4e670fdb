"""The loop behind `loanloop mlflow`."""

import asyncio
from collections.abc import Awaitable, Callable

from loanloop.error_sentences import MISFORTUNES, outlived
from loanloop.telling import Tell


async def look_again_and_again(look: Callable[[], Awaitable[None]], *, every_s: float, tell: Tell) -> None:
    """Until cancelled. A database or an MLflow that is away is told, and waited for."""
    while True:
        try:
            await look()
        except MISFORTUNES as error:
            tell(f"{outlived(error)}; tried again")
        await asyncio.sleep(every_s)
