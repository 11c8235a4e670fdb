"""Concurrent requests share a batch: what has queued up while the previous one ran goes together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Finish = Callable[[], Awaitable[Sequence[Result]]]


class SharedBatches(Generic[Item, Result]):
    """`begin` gets at most `max_items` items, a larger submission alone, and returns what is left to do,
    which gives each its result in its place.

    A batch is begun while the one before it is finished: one of each at a time. A lone submission doesn't wait.
    """

    def __init__(self, begin: Callable[[Sequence[Item]], Awaitable[Finish[Result]]], *, max_items: int) -> None:
        self._begin = begin
        self._max_items = max_items
        self._waiting: deque[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]] = deque()
        self._beginning: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[None] | None = None

    async def submit(self, items: Sequence[Item]) -> Sequence[Result]:
        """Raises what was raised for the batch that the items were in."""
        answer: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, answer))
        if self._beginning is None or self._beginning.done():
            self._beginning = asyncio.create_task(self._run_waiting())
        return await answer

    async def _run_waiting(self) -> None:
        while self._waiting:
            await self._run_together(_Batch(self._take()))

    def _take(self) -> list[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]]:
        taken = [self._waiting.popleft()]
        n_items = len(taken[0][0])
        while self._waiting and n_items + len(self._waiting[0][0]) <= self._max_items:
            taken.append(self._waiting.popleft())
            n_items += len(taken[-1][0])
        return taken

    async def _run_together(self, batch: "_Batch[Item, Result]") -> None:
        try:
            finish = await self._begin(batch.items)
            if self._finishing:
                await asyncio.wait({self._finishing})
        except BaseException as error:  # those who wait get it, whatever it is
            batch.fail(error)
            if isinstance(error, Exception):
                return
            raise
        self._finishing = asyncio.create_task(batch.finish(finish))


class _Batch(Generic[Item, Result]):
    def __init__(self, taken: list[tuple[Sequence[Item], asyncio.Future[Sequence[Result]]]]) -> None:
        self.items = [item for items, _ in taken for item in items]
        self._taken = taken

    async def finish(self, finish: Finish[Result]) -> None:
        try:
            results = await finish()
        except BaseException as error:  # as above
            self.fail(error)
            if isinstance(error, Exception):
                return
            raise
        start = 0
        for items, answer in self._taken:
            # A client that has gone away has cancelled its future; what it asked for is decided all the same.
            if not answer.done():
                answer.set_result(results[start : start + len(items)])
            start += len(items)

    def fail(self, error: BaseException) -> None:
        for _, answer in self._taken:
            if not answer.done():
                answer.set_exception(error)
