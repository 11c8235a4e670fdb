"""Backups again and again, as long as the process lives: each is due so long after the newest that is there."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog
from loanloop_common.telemetry import count, set_gauge

from loanloop.backups.folder import Kept
from loanloop.error_sentences import MISFORTUNES, outlived

log = structlog.get_logger()

TRY_AGAIN_AFTER = timedelta(minutes=10)


def due_at(newest: datetime | None, *, begun: datetime, every: timedelta) -> datetime:
    """Where none is there yet, since the process has begun; one that was missed stays due since when it was."""
    return begun if newest is None else newest + every


@dataclass
class Repeating:
    """`newest` says when the newest backup of this installation was taken, `take` makes another; either may fail."""

    newest: Callable[[], Awaitable[datetime | None]]
    take: Callable[[], Awaitable[Kept]]
    every: timedelta
    try_again_after: timedelta = TRY_AGAIN_AFTER
    state: Literal["looking", "failing"] = field(default="looking", init=False)

    async def run(self) -> None:
        """Until cancelled. One that fails is logged, and tried again after a while: what is there stays as it is."""
        for result in ("done", "failed"):
            count("loanloop_backups_total", 0, result=result)
        begun = datetime.now(UTC)
        _set_due(begun)
        while True:
            try:
                await self._when_due(begun)
                self.state = "looking"
            except MISFORTUNES as error:
                self.state = "failing"
                count("loanloop_backups_total", result="failed")
                after_s = self.try_again_after.total_seconds()
                log.warning("backup_failed", error=outlived(error), after_s=after_s)
                await asyncio.sleep(after_s)

    async def _when_due(self, begun: datetime) -> None:
        newest = await self.newest()
        if newest is not None:
            _set_taken(newest)
        due = due_at(newest, begun=begun, every=self.every)
        _set_due(due)
        if (wait := due - datetime.now(UTC)) > timedelta(0):
            self.state = "looking"  # also where the look before failed: nothing has been missed
            log.info("backup_due", due_at=due)
            await asyncio.sleep(wait.total_seconds())
        kept = await self.take()
        _set_taken(kept.manifest.taken_at)
        count("loanloop_backups_total", result="done")
        log.info("backup_taken", folder=str(kept.path), n_rows=kept.manifest.n_rows)


def _set_due(due: datetime) -> None:
    set_gauge("loanloop_backup_due_timestamp_seconds", due.timestamp())


def _set_taken(taken: datetime) -> None:
    set_gauge("loanloop_backup_taken_timestamp_seconds", taken.timestamp())
