"""The training's heartbeat: progress and checkpoints reach the database beside the computation."""

import asyncio
import contextlib
import math
from collections.abc import Iterator
from typing import Any

import structlog
from loanloop_common.errors import LoanloopError
from loanloop_common.postgres import UNREACHABLE

from loanloop_trainer.domain.audit import Finding
from loanloop_trainer.model import Hooks, Progress
from loanloop_trainer.model.progress import OnProgress
from loanloop_trainer.store.claimed import ClaimedRunStore

log = structlog.get_logger()

BEAT_EVERY_S = 2.0


class LossUndefined(LoanloopError):
    """The loss is no number any more; nothing can be learnt from here on."""

    def __init__(self, phase: str, step: int) -> None:
        rate = "pretrain_learning_rate" if phase == "pretrain" else "learning_rate"
        super().__init__(
            f"the loss is no number any more at step {step} of the phase {phase}: lower {rate} in the portfolio file's "
            "[model]"
        )


def refuse_undefined(progress: Progress) -> None:
    """Raises LossUndefined, in each process of a training at the same step."""
    if progress.loss is not None and not math.isfinite(progress.loss):
        raise LossUndefined(progress.phase, progress.step)


@contextlib.contextmanager
def end_undefined() -> Iterator[OnProgress]:
    """For a process that learns along: where there is nothing more to learn it ends well, the first one says so."""
    with contextlib.suppress(LossUndefined):
        yield refuse_undefined


class Reporter:
    """All but `run` may be called from any thread and never wait; the newest report and checkpoint are written."""

    def __init__(self, store: ClaimedRunStore, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self.phase = "starting"
        self.n_reports = 0
        self._progress: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}
        self._checkpoint: bytes | None = None
        self._something_new = asyncio.Event()

    def report(self, phase: str, **progress: Any) -> None:
        if phase != self.phase:
            log.info("training_phase", phase=phase)
            self._loop.call_soon_threadsafe(self._something_new.set)
        self.n_reports += 1  # first: what the new phase may take counts from here
        self.phase, self._progress = phase, progress

    @property
    def takes_steps(self) -> bool:
        """Whether the phase reports each step, or its begin alone."""
        return bool(self._progress.get("steps"))

    def keep(self, **facts: Any) -> None:
        """Facts that stay in the progress whatever phase comes next."""
        self._kept |= facts

    def hooks(self, checkpoint: bytes | None, *, checkpoint_every_s: float) -> Hooks:
        """For a training that goes on from `checkpoint`."""
        return Hooks(
            on_progress=self.on_progress,
            on_audit=self.on_audit,
            save_checkpoint=self.checkpoint,
            checkpoint_every_s=checkpoint_every_s,
            checkpoint=checkpoint,
        )

    def on_progress(self, progress: Progress) -> None:
        """Raises LossUndefined."""
        refuse_undefined(progress)
        facts = progress.to_dict()
        self.report(facts.pop("phase"), **facts)

    def on_audit(self, findings: list[Finding]) -> None:
        self.keep(audit_warnings={f.feature: f.warning for f in findings if f.warning is not None})

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
            # Not wait_for: Python 3.11's forgets a cancellation that comes together with something new.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_EVERY_S):
                    await self._something_new.wait()

    async def _write(self) -> None:
        await self._store.beat(self.phase, {**self._kept, **self._progress})
        if (checkpoint := self._checkpoint) is not None:
            await self._store.save_checkpoint(checkpoint)
            if self._checkpoint is checkpoint:
                self._checkpoint = None
