"""One look for all viewers: however many ask, the installation is asked once in a while, and never for nobody."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from loanloop.error_sentences import MISFORTUNES, outlived
from loanloop.observe.observer import Observer
from loanloop.observe.rates import Rates
from loanloop.observe.snapshot import Snapshot

WAIT_FOR_A_LOOK_S = 3.0


@dataclass(frozen=True)
class Seen:
    """The newest snapshot, and why there is none that is newer."""

    snapshot: Snapshot | None = None
    problem: str | None = None
    rates: Rates = field(default_factory=Rates)


class SharedLook:
    """`run` looks while somebody asks by `newest`, at most once in `every_s`."""

    def __init__(self, observing: Callable[[], AbstractAsyncContextManager[Observer]], *, every_s: float) -> None:
        self._observing = observing
        self._every_s = every_s
        self._seen = Seen()
        self._fresh_until = 0.0
        self._asked = asyncio.Event()
        self._looked = asyncio.Event()

    async def newest(self) -> Seen:
        """Waits for the look that goes on, but not long: a database that hangs has its own time limit."""
        if time.monotonic() >= self._fresh_until:
            self._asked.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_FOR_A_LOOK_S):
                    await self._looked.wait()
        return self._seen

    async def run(self) -> None:
        """Until cancelled, also while nothing runs there."""
        while True:
            await self._asked.wait()
            try:
                async with self._observing() as observer:
                    await self._look_while_asked(observer)
            except MISFORTUNES as error:
                self._tell(replace(self._seen, problem=outlived(error)), fresh_for_s=self._every_s)

    async def _look_while_asked(self, observer: Observer) -> None:
        while True:
            await self._asked.wait()
            started = time.monotonic()
            snapshot = await observer.snapshot()
            self._seen.rates.add(snapshot)
            # On a large installation the counts take a while: never more than a fifth of the database's time.
            pause_s = max(self._every_s, 4 * (time.monotonic() - started))
            self._tell(replace(self._seen, snapshot=snapshot, problem=None), fresh_for_s=pause_s)

    def _tell(self, seen: Seen, *, fresh_for_s: float) -> None:
        self._seen, self._fresh_until = seen, time.monotonic() + fresh_for_s
        self._asked.clear()
        self._looked.set()
        self._looked = asyncio.Event()
