"""The training's heartbeat: progress and checkpoints reach the database beside the computation."""

import asyncio
from typing import Any

import structlog
from loanloop_common.postgres import UNREACHABLE

from loanloop_trainer.store.claimed import ClaimedRunStore

log = structlog.get_logger()

BEAT_EVERY_S = 2.0


class Reporter:
    """`report` and `checkpoint` may be called from any thread and never wait; the newest of each is written."""

    def __init__(self, store: ClaimedRunStore, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self._phase = "starting"
        self._progress: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}
        self._checkpoint: bytes | None = None
        self._something_new = asyncio.Event()

    def report(self, phase: str, **progress: Any) -> None:
        if phase != self._phase:
            log.info("training_phase", phase=phase)
            self._loop.call_soon_threadsafe(self._something_new.set)
        self._phase, self._progress = phase, progress

    def keep(self, **facts: Any) -> None:
        """Facts that stay in the progress whatever phase comes next."""
        self._kept |= facts

    def checkpoint(self, data: bytes) -> None:
        self._checkpoint = data
        self._loop.call_soon_threadsafe(self._something_new.set)

    async def run(self) -> None:
        """Until cancelled. Raises RunLost when another process has the run."""
        while True:
            self._something_new.clear()
            try:
                await self._write()
            except UNREACHABLE as error:
                log.warning("training_heartbeat_not_written", error=repr(error))
            try:
                await asyncio.wait_for(self._something_new.wait(), timeout=BEAT_EVERY_S)
            except TimeoutError:
                continue

    async def _write(self) -> None:
        await self._store.beat(self._phase, {**self._kept, **self._progress})
        if (checkpoint := self._checkpoint) is not None:
            await self._store.save_checkpoint(checkpoint)
            if self._checkpoint is checkpoint:
                self._checkpoint = None
