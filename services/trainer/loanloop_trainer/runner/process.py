"""Both ends of the tie between the trainer and its child: neither leaves the other behind."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process
from typing import TypeVar
from uuid import UUID

from loanloop_trainer.domain.ports import Ended
from loanloop_trainer.runner.orders import ChildOrders, Orders
from loanloop_trainer.runner.watching import watched

STOP_WITHIN_S = 5.0
PR_SET_PDEATHSIG = 1

Given = TypeVar("Given", bound=ChildOrders)


async def train_in_child(run_id: UUID, orders: Orders, *, hangs_after_s: float) -> Ended:
    """A child that gives no sign of life for so long is killed; a cancellation ends the child first."""
    child = await start("loanloop_trainer.runner", str(run_id), orders=orders, stdout=PIPE)
    try:
        return await watched(child, hangs_after_s=hangs_after_s)
    except asyncio.CancelledError:
        await end(child)
        raise


async def start(module: str, *arguments: str, orders: ChildOrders, stdout: int | None = None) -> Process:
    """Call it in the main thread: on Linux the child dies with the thread that started it."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments, stdin=PIPE, stdout=stdout)
    assert child.stdin is not None
    child.stdin.write(orders.model_dump_json().encode() + b"\n")
    # It stays open: the child ends when this end closes.
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await child.stdin.drain()
    except asyncio.CancelledError:
        await end(child)
        raise
    return child


async def end(child: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
        try:
            await asyncio.wait_for(child.wait(), timeout=STOP_WITHIN_S)
        except TimeoutError:
            child.kill()
            await child.wait()


def read_orders(kind: type[Given]) -> Given:
    """In the child. From here on it dies with its parent: by the kernel on Linux, by the closed pipe elsewhere."""
    orders = kind.model_validate_json(sys.stdin.buffer.readline())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != orders.parent_pid:
        os._exit(1)
    threading.Thread(target=_die_at_end_of_input, daemon=True).start()
    return orders


def _die_at_end_of_input() -> None:
    # sys.stdin's lock would be waited for at a normal exit of the interpreter.
    while os.read(0, 1):
        pass
    os._exit(1)
