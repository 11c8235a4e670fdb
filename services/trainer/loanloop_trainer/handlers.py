"""What the trainer does: it wakes up, decides, and lets a child process train. Nothing here computes."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from loanloop_common.background import in_background
from loanloop_common.portfolio import Policy
from loanloop_common.postgres import UNREACHABLE

from loanloop_trainer.domain.ports import ClaimedRun, Exit, Runs, TrainInChild
from loanloop_trainer.domain.trigger import MAX_CRASHES, Decision, GiveUp, Situation, Train, Wait, decide

log = structlog.get_logger()


class Retraining:
    """Looks at the facts at each wake-up and each poll, and works on at most one run."""

    def __init__(  # its collaborators and its pace
        self,
        runs: Runs,
        policy: Policy,
        train: TrainInChild,
        *,
        owner: str,
        seed: int,
        poll_s: float,
        stale_after_s: float,
        on_change: Callable[[str], None],
    ) -> None:
        self.doing = ""
        self._runs = runs
        self._policy = policy
        self._train = train
        self._owner = owner
        self._seed = seed
        self._poll_s = poll_s
        self._stale_after_s = stale_after_s
        self._on_change = on_change
        self._woken = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = in_background(self._run(), name="retraining")

    async def stop(self) -> None:
        """Ends the training process; the run stays queued with its checkpoint, for whoever comes next."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def wake(self, records: Sequence[Any]) -> None:  # noqa: ARG002  # what it says is in the database, or will be
        """Handles a batch of any topic: it only shortens the poll."""
        self._woken.set()

    async def _run(self) -> None:
        while True:
            try:
                while await self.step():
                    pass
            except UNREACHABLE as error:
                self._note("waiting for the database")
                log.warning("trainer_waits_for_database", error=repr(error))
            await self._rest()

    async def step(self) -> bool:
        """Whether there may be more to do at once."""
        if run := await self._runs.claim_run(self._owner, stale_after_s=self._stale_after_s):
            await self._work_on(run)
            return True
        return await self._start_if_due()

    async def _start_if_due(self) -> bool:
        decision = self._decide(await self._runs.fetch_situation())
        if isinstance(decision, Wait):
            self._note(decision.reason)
            return False
        if isinstance(decision, GiveUp):
            log.error("retraining_given_up", breach_id=decision.breach_id)
            return await self._runs.give_up(decision.breach_id)
        return await self._start(decision)

    def _decide(self, situation: Situation) -> Decision:
        return decide(situation, self._policy, datetime.now(UTC))

    async def _start(self, train: Train) -> bool:
        run_id = await self._runs.create_run(self._decide, seed=self._seed)
        if run_id is not None:
            log.info("training_run_created", run_id=str(run_id), trigger=train.trigger, attempt=train.attempt)
        return run_id is not None

    async def _work_on(self, run: ClaimedRun) -> None:
        if run.crashes >= MAX_CRASHES:
            await self._runs.fail_crashed(run, self._owner)
            log.error("training_failed", run_id=str(run.run_id), crashes=run.crashes)
            return
        self._note(f"training ({run.trigger})")
        log.info("training_started", run_id=str(run.run_id), trigger=run.trigger, crashes=run.crashes)
        try:
            code = await self._train(run.run_id)
        except asyncio.CancelledError:
            await self._runs.release_run(run.run_id, self._owner)
            raise
        await self._settle(run.run_id, code)

    async def _settle(self, run_id: UUID, code: int) -> None:
        if code == Exit.ENDED:
            log.info("training_ended", run_id=str(run_id))
        elif code == Exit.LOST:
            log.warning("training_lost", run_id=str(run_id))
        elif code == Exit.TRY_LATER:
            await self._runs.release_run(run_id, self._owner)
            await asyncio.sleep(self._poll_s)
        else:
            error = _cause_of(code)
            log.error("training_crashed", run_id=str(run_id), error=error)
            await self._runs.record_crash(run_id, self._owner, error)

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), timeout=self._poll_s)
            # A stream of loans wakes up all the time; counting labels for each batch would be work for nothing.
            await asyncio.sleep(min(1.0, self._poll_s))
        except TimeoutError:
            pass
        self._woken.clear()

    def _note(self, doing: str) -> None:
        if doing != self.doing:
            log.info("trainer", doing=doing)
            self._on_change(doing)
        self.doing = doing


def _cause_of(code: int) -> str:
    if code < 0:
        return f"the training process was killed by {signal.Signals(-code).name}"
    return f"the training process ended with code {code}"
