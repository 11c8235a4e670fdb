"""A time limit for many short things on one timer: one for each would cost as much as what they do."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

Waiting = TypeVar("Waiting")


class Deadlines(Generic[Waiting]):
    """Calls `end` with whoever is still waiting `seconds` after `begin`."""

    def __init__(self, seconds: float, end: Callable[[Waiting], None]) -> None:
        self.seconds = seconds
        self._end = end
        self._waiting: dict[Waiting, float] = {}  # the oldest first: all have the same limit
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, one: Waiting) -> None:
        """Who waits already goes on waiting."""
        if one in self._waiting:
            return
        loop = asyncio.get_running_loop()
        self._waiting[one] = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(self._waiting[one], self._look)

    def discard(self, one: Waiting) -> None:
        self._waiting.pop(one, None)

    def _look(self) -> None:
        """Ends who is overdue, and comes again when the oldest of the others would be."""
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        while self._waiting:
            one, ends_at = next(iter(self._waiting.items()))
            if ends_at > now:
                self._timer = loop.call_at(ends_at, self._look)
                return
            del self._waiting[one]
            self._end(one)


class TimeLimit:
    """`with limit:` raises TimeoutError in the task that is still inside after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._inside = Deadlines[asyncio.Task[object]](seconds, self._end)
        self._overdue: set[asyncio.Task[object]] = set()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._inside.begin(task)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._inside.discard(task)
        if task in self._overdue:
            self._overdue.remove(task)
            # Somebody else may want the task to end as well.
            if task.uncancel() <= 0 and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def _end(self, task: asyncio.Task[object]) -> None:
        self._overdue.add(task)
        task.cancel()
