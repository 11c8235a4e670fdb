"""Further processes of a training on this machine: started with it, ended with it, and missed when one is lost."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from loanloop_trainer.model import ALONE, Ranks
from loanloop_trainer.runner.meeting import meeting_folder
from loanloop_trainer.runner.orders import FollowerOrders, Orders
from loanloop_trainer.runner.process import end, start


class FollowerLost(Exception):
    """A process of the training is gone, and the others can't go on without it: a crash like any other."""

    def __init__(self, rank: int, n: int, code: int) -> None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        super().__init__(f"process {rank + 1} of {n} of this training {how}")


@dataclass(frozen=True)
class Together:
    """This process among those that it started."""

    ranks: Ranks
    followers: tuple[Process, ...] = ()

    async def watch(self) -> None:
        """Returns when all have ended well. Raises FollowerLost as soon as one has not."""
        for ended in asyncio.as_completed([self._ended(i) for i in range(len(self.followers))]):
            rank, code = await ended
            if code != 0:
                raise FollowerLost(rank, self.ranks.n, code)

    async def _ended(self, i: int) -> tuple[int, int]:
        return i + 1, await self.followers[i].wait()


@asynccontextmanager
async def together(orders: Orders) -> AsyncIterator[Together]:
    """As many processes as ordered, this one among them; those that are left at the end are ended."""
    if orders.processes == 1:
        yield Together(ALONE)
        return
    with meeting_folder() as folder:
        file, followers = str(folder / "meeting"), list[Process]()
        try:
            for rank in range(1, orders.processes):
                followers.append(await start("loanloop_trainer.runner.follower", orders=_told(orders, file, rank)))
            yield Together(Ranks.by_file(file, rank=0, n=orders.processes), tuple(followers))
        finally:
            await asyncio.gather(*map(end, followers))


def _told(orders: Orders, file: str, rank: int) -> FollowerOrders:
    return FollowerOrders(
        parent_pid=os.getpid(),
        threads=orders.threads_each,
        niceness=orders.niceness,
        log_format=orders.log_format,
        log_level=orders.log_level,
        file=file,
        rank=rank,
        n=orders.processes,
    )
