"""Looking again and again: at a wake-up, and every few seconds anyway, because a wake-up can be lost or early."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import structlog

from loanloop_common.background import in_background
from loanloop_common.telemetry import observe

log = structlog.get_logger()

_LONGEST_PAUSE_S = 30.0
_SHORTEST_PAUSE_AFTER_FAILURE_S = 0.5  # however many wake-ups come


class Poller:
    """Calls `look` at once, then after each wake() and every `every_s`; never twice at a time.

    A look that raises is logged and repeated after a growing pause; others go on meanwhile. The next look is
    `gather_s` away from the last at least, so that wake-ups in between are one. start() waits `first_within_s` for the
    first look to end, well or not. stop() looks a last time, or cancels where a look may take hours.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[object]],
        *,
        every_s: float,
        name: str,
        gather_s: float = 0.0,
        first_within_s: float = 0.0,
        cancel_on_stop: bool = False,
    ) -> None:
        self.state: Literal["stopped", "looking", "failing"] = "stopped"
        self.name = name
        self.error: BaseException | None = None  # of the last look, while it is failing
        self._look = look
        self._every_s = every_s
        self._gather_s = gather_s
        self._first_within_s = first_within_s
        self._cancel_on_stop = cancel_on_stop
        self._has_looked = asyncio.Event()
        self._wake = asyncio.Event()
        self._stopping = False
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._stopping = False
        self.state = "looking"
        self._running = in_background(self._run(), name=self.name)
        if self._first_within_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._first_within_s):
                    await self._has_looked.wait()

    async def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._running and self._cancel_on_stop:
            self._running.cancel()
            await asyncio.wait({self._running})
        elif self._running:
            await self._running
        self.state = "stopped"

    def wake(self) -> None:
        """Look now instead of at the next turn."""
        self._wake.set()

    def mended(self) -> None:
        """For a look that goes on for hours: what the one before failed for has answered."""
        self.state, self.error = "looking", None

    async def _run(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            is_last = self._stopping
            failures = 0 if await self._looked(failures + 1) else failures + 1
            self._has_looked.set()
            if is_last or (self._stopping and self._cancel_on_stop):
                return
            if failures:
                longest_s = min(max(self._every_s, _SHORTEST_PAUSE_AFTER_FAILURE_S) * 2**failures, _LONGEST_PAUSE_S)
                await self._pause(longest_s, after_wake_s=max(self._gather_s, _SHORTEST_PAUSE_AFTER_FAILURE_S))
            else:
                await self._pause(self._every_s, after_wake_s=self._gather_s)

    async def _looked(self, attempt: int) -> bool:
        started = time.monotonic()
        try:
            await self._look()
        except (Exception, asyncio.CancelledError) as error:  # whatever it is, the next look may find it mended
            if isinstance(error, asyncio.CancelledError) and _is_asked_to_end():
                raise
            self.state, self.error = "failing", error
            self._observe("failed", started)
            traceback = error if attempt == 1 else None
            log.warning("look_failed", name=self.name, attempt=attempt, error=repr(error), exc_info=traceback)
            return False
        self.mended()
        self._observe("ok", started)
        return True

    def _observe(self, result: str, started: float) -> None:
        observe("loanloop_look_duration_seconds", time.monotonic() - started, part=self.name, result=result)

    async def _pause(self, seconds: float, *, after_wake_s: float) -> None:
        not_before = time.monotonic() + after_wake_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # Python 3.11's wait_for may forget a cancellation
                await self._wake.wait()
            if not self._stopping:
                await asyncio.sleep(max(0.0, not_before - time.monotonic()))


def _is_asked_to_end() -> bool:
    """A library's stray CancelledError asks for nothing."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
