"""What every service measures of itself beside its work: its event loop, its parts, its pool, its disk."""

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from loanloop_common.background import in_background
from loanloop_common.instances import AT_WORK
from loanloop_common.postgres import Pool
from loanloop_common.telemetry import observe, set_gauge, watch_gauge

_LOOK_EVERY_S = 0.1


class HasState(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...


class LoopDelay:
    """Sets a timer again and again, and observes how late it comes."""

    name = "loop_delay"

    def __init__(self) -> None:
        self._running: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        return "looking" if self._running and not self._running.done() else "stopped"

    async def start(self) -> None:
        self._running = in_background(self._run(), name=self.name)

    async def stop(self) -> None:
        if self._running:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LOOK_EVERY_S
            await asyncio.sleep(_LOOK_EVERY_S)
            observe("loanloop_event_loop_delay_seconds", max(loop.time() - due, 0.0))


def watch_build(preset: str) -> None:
    try:
        ours = version("loanloop")
    except PackageNotFoundError:  # run from its sources, on a path
        ours = "unknown"
    set_gauge("loanloop_build_info", 1, version=ours, preset=preset)


def watch_parts(parts: Sequence[HasState]) -> None:
    for part in parts:
        watch_gauge("loanloop_part_at_work", partial(_is_at_work, part), part=part.name)


def _is_at_work(part: HasState) -> float:
    return float(part.state in AT_WORK)


def watch_pool(pool: Pool) -> None:
    watch_gauge("loanloop_db_pool_max_connections", pool.get_max_size)
    watch_gauge("loanloop_db_pool_connections", pool.get_idle_size, state="idle")
    watch_gauge("loanloop_db_pool_connections", lambda: pool.get_size() - pool.get_idle_size(), state="used")


def watch_disk(folder: Path) -> None:
    """A folder that is not there, or not any more, has NaN bytes."""
    watch_gauge("loanloop_disk_free_bytes", lambda: _usage(folder)[0], folder=str(folder))
    watch_gauge("loanloop_disk_size_bytes", lambda: _usage(folder)[1], folder=str(folder))


def _usage(folder: Path) -> tuple[float, float]:
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return float("nan"), float("nan")
    return usage.free, usage.total
