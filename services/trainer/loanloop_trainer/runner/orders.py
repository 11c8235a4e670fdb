"""What a process is told by the one that started it, as one line of JSON on its standard input."""

import os
from typing import Literal

from pydantic import BaseModel


class ChildOrders(BaseModel):
    parent_pid: int
    threads: int
    niceness: int
    log_format: Literal["console", "json"]
    log_level: str


class Orders(ChildOrders):
    """By the trainer to the training; on standard input, so that passwords stay out of `ps`.

    `threads` of 0: as many as there are cores for each process.
    """

    owner: str
    portfolio: str
    dsn: str
    read_only_dsn: str | None
    processes: int
    checkpoint_every_s: float
    stalls_after_s: float

    @property
    def threads_each(self) -> int:
        """Of each process: together they take the cores once."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) // self.processes)


class FollowerOrders(ChildOrders):
    """By the training to the processes that learn along; they meet by `file`."""

    file: str
    rank: int
    n: int
