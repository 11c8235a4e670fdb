"""Concurrent requests share a batch: what has queued up while the previous one ran goes together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class SharedBatches(Generic[Item, Result]):
    """`work` gets at most `max_items` items, and answers each in its place. A lone submission doesn't wait."""

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, max_items: int) -> None:
        self._work = work
        self._max_items = max_items
        self._waiting: deque[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def submit(self, items: Sequence[Item]) -> Sequence[Result]:
        """Raises what `work` raised for the batch that the items were in."""
        answer: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run_waiting())
        return await answer

    async def _run_waiting(self) -> None:
        while self._waiting:
            await self._run_together(self._take())

    def _take(self) -> list[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]]:
        taken = [self._waiting.popleft()]
        n_items = len(taken[0][0])
        while self._waiting and n_items + len(self._waiting[0][0]) <= self._max_items:
            taken.append(self._waiting.popleft())
            n_items += len(taken[-1][0])
        return taken

    async def _run_together(self, taken: list[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]]) -> None:
        together = [item for items, _ in taken for item in items]
        (outcome,) = await asyncio.gather(self._work(together), return_exceptions=True)
        start = 0
        for items, answer in taken:
            # A client that has gone away has cancelled its future; what it asked for is decided all the same.
            if not answer.done():
                if isinstance(outcome, BaseException):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome[start : start + len(items)])
            start += len(items)
