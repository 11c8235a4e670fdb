"""Background tasks whose end by an error ends the service, instead of leaving it half alive."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()

# The key by which the loop's exception handler tells such an error from a library's stray one.
FATAL = "loanloop_fatal"


def in_background(work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[None]) -> None:
    if task.cancelled() and task.cancelling():
        return
    # aiokafka can raise CancelledError where nobody has cancelled anything: a part would be gone without a word.
    error = asyncio.CancelledError("nobody has asked for it") if task.cancelled() else task.exception()
    if error is not None:
        log.critical("part_crashed", part=task.get_name(), error=repr(error), exc_info=error)
        task.get_loop().call_exception_handler(
            {"message": "a part crashed", "exception": error, FATAL: task.get_name()}
        )
