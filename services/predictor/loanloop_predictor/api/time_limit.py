"""A time limit for many short tasks on one timer: one for each would cost as much as what they do."""

import asyncio
from types import TracebackType


class TimeLimit:
    """`with limit:` raises TimeoutError in the task that is still inside after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._inside: dict[asyncio.Task[object], float] = {}  # the oldest first: all have the same limit
        self._overdue: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._inside[task] = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(self._inside[task], self._look)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._inside.pop(task, None)
        if task in self._overdue:
            self._overdue.remove(task)
            # Somebody else may want the task to end as well.
            if task.uncancel() <= 0 and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def _look(self) -> None:
        """Ends who is overdue, and comes again when the oldest of the others would be."""
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        while self._inside:
            task, ends_at = next(iter(self._inside.items()))
            if ends_at > now:
                self._timer = loop.call_at(ends_at, self._look)
                return
            del self._inside[task]
            self._overdue.add(task)
            task.cancel()
