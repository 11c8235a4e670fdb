"""What the trainer does: it wakes up, decides, and lets a child process train. Nothing here computes."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import structlog
from loanloop_common.polling import Poller
from loanloop_common.portfolio import Policy
from loanloop_common.postgres import UNREACHABLE
from loanloop_common.telemetry import observe, replace_series
from loanloop_common.tracing import Span, span

from loanloop_trainer.domain.arrival import Arrival
from loanloop_trainer.domain.ports import ClaimedRun, Ended, Exit, Runs, TrainInChild
from loanloop_trainer.domain.progress import nothing_trained, training_series
from loanloop_trainer.domain.trigger import MAX_CRASHES, Decision, GiveUp, Situation, Train, Wait, decide
from loanloop_trainer.store.progress import ProgressStore

log = structlog.get_logger()

# A stream of loans wakes up all the time; counting labels for each batch would be work for nothing.
WAKE_UPS_GATHER_S = 1.0
# Oftener than trainers look for work: none of them shall find a run that has ended here before its row says so.
SETTLE_EVERY_S = 0.5


class Retraining:
    """Each look at the facts works on at most one run at a time, until there is nothing to do.

    One that is cancelled ends the training process; the run stays queued with its checkpoint, for whoever comes next.
    """

    def __init__(  # its collaborators and its pace
        self,
        runs: Runs,
        policy: Policy,
        train: TrainInChild | None,
        *,
        owner: str,
        seed: int,
        poll_s: float,
        stale_after_s: float,
        on_change: Callable[[str], None],
    ) -> None:
        """Where `train` is None it makes runs and leaves them to others."""
        self.doing = ""
        self.on_claimed: Callable[[], None] = lambda: None
        self._runs = runs
        self._policy = policy
        self._train = train
        self._owner = owner
        self._seed = seed
        self._poll_s = poll_s
        self._stale_after_s = stale_after_s
        self._on_change = on_change
        self._arrival = Arrival(over_s=poll_s)

    async def look(self) -> None:
        while await self.step():
            pass

    async def step(self) -> bool:
        """Whether there may be more to do at once."""
        return await self.work_on_next() or await self._start_if_due()

    async def work_on_next(self) -> bool:
        """Whether there was a run to claim; its training has ended then."""
        if self._train and (run := await self._runs.claim_run(self._owner, stale_after_s=self._stale_after_s)):
            self.on_claimed()
            await self._work_on(run, self._train)
            return True
        return False

    async def _start_if_due(self) -> bool:
        situation = await self._runs.fetch_situation()
        decision = self._decide(situation)
        self._arrival.note(situation.labels, time.monotonic())
        if situation.last_run is None and decision == Train("labels") and self._arrival.is_going_on:
            decision = Wait(f"{situation.labels:,} labelled loans for the first training, and more are coming in")
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

    async def _work_on(self, run: ClaimedRun, train: TrainInChild) -> None:
        if run.crashes >= MAX_CRASHES:
            await self._runs.fail_crashed(run, self._owner)
            log.error("training_failed", run_id=str(run.run_id), crashes=run.crashes)
            return
        with span("training", run_id=str(run.run_id), trigger=run.trigger) as training:
            await self._trained(run, train, training)

    async def _trained(self, run: ClaimedRun, train: TrainInChild, training: Span) -> None:
        self._note(f"training ({run.trigger})")
        log.info("training_started", run_id=str(run.run_id), trigger=run.trigger, crashes=run.crashes)
        try:
            ended = await train(run.run_id)
        except asyncio.CancelledError:
            # While the database is away the run stays claimed, until its heartbeat has been missed for long enough.
            with contextlib.suppress(*UNREACHABLE):
                await self._runs.release_run(run.run_id, self._owner)
            raise
        except OSError as error:  # no memory or no file handle is left for another process
            await self._record_crash(run.run_id, f"the training process could not be started: {error}")
        else:
            training.note(exit_code=ended.code)
            await self._settle(run.run_id, ended)

    async def _settle(self, run_id: UUID, ended: Ended) -> None:
        if ended.code == Exit.ENDED:
            log.info("training_ended", run_id=str(run_id))
        elif ended.code == Exit.LOST:
            log.warning("training_lost", run_id=str(run_id))
        elif ended.code == Exit.TRY_LATER:
            await self._once_it_answers(run_id, lambda: self._runs.release_run(run_id, self._owner))
            await asyncio.sleep(self._poll_s)
        else:
            await self._record_crash(run_id, ended.cause or _cause_of(ended.code))

    async def _record_crash(self, run_id: UUID, error: str) -> None:
        log.error("training_crashed", run_id=str(run_id), error=error)
        await self._once_it_answers(run_id, lambda: self._runs.record_crash(run_id, self._owner, error))

    async def _once_it_answers(self, run_id: UUID, write: Callable[[], Awaitable[None]]) -> None:
        """As soon as the database does again: a run that stayed claimed would go stale, a crash of unknown cause."""
        while True:
            try:
                return await write()
            except UNREACHABLE as away:
                log.warning("training_not_settled", run_id=str(run_id), error=repr(away))
                await asyncio.sleep(min(self._poll_s, SETTLE_EVERY_S))

    def _note(self, doing: str) -> None:
        if doing != self.doing:
            log.info("trainer", doing=doing)
            self._on_change(doing)
        self.doing = doing


class TrainingWatch:
    """Keeps the metrics of the run under way as they are in its row, whoever trains it."""

    def __init__(self, store: ProgressStore) -> None:
        self._store = store
        self._ended: set[UUID] | None = None  # None before the first look: what ended before it is not ours to tell

    async def look(self) -> None:
        run = await self._store.fetch_open()
        for name, series in (training_series(*run) if run else nothing_trained()).items():
            replace_series(name, series)
        ended = await self._store.fetch_ended()
        for one in ended:
            if self._ended is not None and one.run_id not in self._ended:
                observe("loanloop_run_duration_seconds", one.took_s, kind="train", result=one.state)
        self._ended = {one.run_id for one in ended}


def make_poller(retraining: Retraining, *, every_s: float) -> Poller:
    poller = Poller(
        retraining.look,
        every_s=every_s,
        gather_s=min(WAKE_UPS_GATHER_S, every_s),
        cancel_on_stop=True,
        name="retraining",
    )
    retraining.on_claimed = poller.mended
    return poller


def _cause_of(code: int) -> str:
    if code < 0:
        return f"the training process was killed by {signal.Signals(-code).name}"
    return f"the training process ended with code {code}"
