"""The trainer's loop on a fake of its runs: what it does about each end of a training process."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from loanloop_common.polling import Poller
from loanloop_common.portfolio import Policy
from loanloop_common.tracing import begin_tracing, end_tracing
from loanloop_trainer.domain.ports import ClaimedRun, Ended, Exit, TrainInChild
from loanloop_trainer.domain.trigger import MAX_CRASHES, Decision, Situation, Train
from loanloop_trainer.handlers import Retraining, make_poller

from tests.support.collector import Collector, attributes_of
from tests.support.eventually import eventually

POLICY = Policy(maturity_days=0, first_labels=100, new_labels=100, cooldown_minutes=0)


@dataclass
class FakeRuns:
    """One run at most, in memory."""

    labels: int = 0
    state: str = "none"
    crashes: int = 0
    error: str = ""
    away: bool = False
    looks: int = 0
    released: int = 0
    refused: int = 0
    run_id: UUID = field(default_factory=uuid4)

    async def fetch_situation(self) -> Situation:
        self.looks += 1
        self._answer()
        return Situation(labels=self.labels, run_is_open=self.state != "none")

    async def create_run(self, decide: Callable[[Situation], Decision], *, seed: int) -> UUID | None:
        if not isinstance(decide(await self.fetch_situation()), Train):
            return None
        self.state = "queued"
        return self.run_id

    async def claim_run(self, owner: str, *, stale_after_s: float) -> ClaimedRun | None:
        self._answer()
        if self.state != "queued":
            return None
        self.state = "running"
        return ClaimedRun(self.run_id, "labels", self.crashes)

    async def release_run(self, run_id: UUID, owner: str) -> None:
        self._answer()
        self.state = "queued"
        self.released += 1

    async def record_crash(self, run_id: UUID, owner: str, error: str) -> None:
        self._answer()
        self.crashes, self.error = self.crashes + 1, error
        self.state = "failed" if self.crashes >= MAX_CRASHES else "queued"

    async def fail_crashed(self, run: ClaimedRun, owner: str) -> None:
        self.state = "failed"

    async def give_up(self, breach_id: int) -> bool:
        return True

    def _answer(self) -> None:
        if self.away:
            self.refused += 1
            raise ConnectionRefusedError


class FakeTraining:
    """A training process that ends with the codes it was given, one after another; without any it runs on."""

    def __init__(self, *codes: int, cause: str | None = None) -> None:
        self.started = 0
        self._codes = list(codes)
        self._cause = cause

    async def __call__(self, run_id: UUID) -> Ended:
        self.started += 1
        if not self._codes:
            await asyncio.Event().wait()
        return Ended(self._codes.pop(0), self._cause)


@dataclass
class Trainer:
    retraining: Retraining
    poller: Poller

    @property
    def doing(self) -> str:
        return self.retraining.doing


def make_retraining(runs: FakeRuns, training: TrainInChild | None, *, poll_s: float = 0.01) -> Retraining:
    return Retraining(
        runs, POLICY, training, owner="a", seed=0, poll_s=poll_s, stale_after_s=15, on_change=lambda _: None
    )


@asynccontextmanager
async def trainer(runs: FakeRuns, training: TrainInChild | None, *, poll_s: float = 0.01) -> AsyncIterator[Trainer]:
    retraining = make_retraining(runs, training, poll_s=poll_s)
    poller = make_poller(retraining, every_s=poll_s)
    await poller.start()
    try:
        yield Trainer(retraining, poller)
    finally:
        await asyncio.wait_for(poller.stop(), timeout=5)


async def test_enough_labels_start_one_training() -> None:
    runs, training = FakeRuns(labels=100), FakeTraining()

    async with trainer(runs, training) as it:
        await eventually(lambda: training.started)

        assert (training.started, runs.state, it.doing) == (1, "running", "training (labels)")


async def test_the_first_training_waits_for_the_rest_of_a_history_that_is_being_loaded() -> None:
    runs = FakeRuns(labels=10)
    retraining = make_retraining(runs, None, poll_s=0)

    for labels in (10, 1_000, 2_000):
        runs.labels = labels
        assert not await retraining.step()

    assert retraining.doing == "2,000 labelled loans for the first training, and more are coming in"
    assert await retraining.step()
    assert runs.state == "queued"


async def test_trainer_that_does_not_train_makes_the_run_and_leaves_it_queued() -> None:
    runs = FakeRuns(labels=100)

    async with trainer(runs, None):
        await eventually(lambda: runs.looks > 3)

    assert (runs.state, runs.crashes) == ("queued", 0)


async def test_stop_leaves_the_run_queued_for_whoever_comes_next() -> None:
    runs, training = FakeRuns(labels=100), FakeTraining()

    async with trainer(runs, training):
        await eventually(lambda: training.started)

    assert (runs.state, runs.crashes) == ("queued", 0)


async def test_stop_ends_also_while_the_database_is_away() -> None:
    runs, training = FakeRuns(labels=100), FakeTraining()

    async with trainer(runs, training) as it:
        await eventually(lambda: training.started)
        runs.away = True

    assert (it.poller.state, training.started, runs.state) == ("stopped", 1, "running")


async def test_cancelled_look_is_cancelled_also_while_the_database_is_away() -> None:
    runs, training = FakeRuns(labels=100), FakeTraining()
    looking = asyncio.create_task(make_retraining(runs, training).look())
    await eventually(lambda: training.started)

    runs.away = True
    looking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await looking


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (-9, "the training process was killed by SIGKILL"),
        (1, "the training process ended with code 1"),
    ],
)
async def test_training_that_crashes_is_started_again_twice_and_then_failed(code: int, error: str) -> None:
    runs, training = FakeRuns(labels=100), FakeTraining(code, code, code)

    async with trainer(runs, training):
        await eventually(lambda: runs.state == "failed")

    assert (training.started, runs.error) == (3, error)


async def test_cause_that_is_known_is_said_instead_of_a_code() -> None:
    runs, training = FakeRuns(labels=100), FakeTraining(-9, -9, -9, cause="the training process gave no sign of life")

    async with trainer(runs, training):
        await eventually(lambda: runs.state == "failed")

    assert (runs.crashes, runs.error) == (3, "the training process gave no sign of life")


async def test_process_that_cannot_be_started_is_a_crash() -> None:
    runs = FakeRuns(labels=100)

    async def no_file_handle(run_id: UUID) -> Ended:
        raise OSError(errno.EMFILE, "Too many open files")

    async with trainer(runs, no_file_handle):
        await eventually(lambda: runs.state == "failed")

    assert "Too many open files" in runs.error


async def test_training_that_found_the_database_away_is_no_crash() -> None:
    runs, training = FakeRuns(labels=100), FakeTraining(Exit.TRY_LATER, Exit.TRY_LATER)

    async with trainer(runs, training):
        await eventually(lambda: training.started == 3)

    assert runs.crashes == 0


async def test_run_is_released_as_soon_as_the_database_answers_again() -> None:
    runs = FakeRuns(labels=100)
    codes = [Exit.TRY_LATER]

    async def away_meanwhile(run_id: UUID) -> Ended:
        if not codes:
            await asyncio.Event().wait()
        runs.away = True
        return Ended(codes.pop())

    async with trainer(runs, away_meanwhile) as it:
        await eventually(lambda: runs.refused > 3)
        assert (runs.state, it.doing) == ("running", "training (labels)")
        runs.away = False

        await eventually(lambda: runs.released)

    assert runs.crashes == 0


async def test_crash_is_recorded_with_its_cause_as_soon_as_the_database_answers_again() -> None:
    runs = FakeRuns(labels=100, crashes=MAX_CRASHES - 1)

    async def away_meanwhile(run_id: UUID) -> Ended:
        runs.away = True
        return Ended(Exit.CRASHED, "the training process ended with MemoryError")

    async with trainer(runs, away_meanwhile):
        await eventually(lambda: runs.refused > 3)
        assert runs.state == "running"
        runs.away = False

        await eventually(lambda: runs.state == "failed")

    assert runs.error == "the training process ended with MemoryError"


async def test_trainer_that_waits_to_release_a_run_can_be_stopped() -> None:
    runs = FakeRuns(labels=100)

    async def away_meanwhile(run_id: UUID) -> Ended:
        runs.away = True
        return Ended(Exit.TRY_LATER)

    async with trainer(runs, away_meanwhile) as it:
        await eventually(lambda: runs.refused)

    assert it.poller.state == "stopped"


async def test_run_that_was_lost_is_left_alone() -> None:
    runs, training = FakeRuns(labels=100), FakeTraining(Exit.LOST)

    async with trainer(runs, training) as it:
        await eventually(lambda: it.doing == "a training is under way")

    assert (runs.state, runs.crashes) == ("running", 0)


async def test_run_that_crashed_with_its_trainers_is_failed_instead_of_started() -> None:
    runs, training = FakeRuns(state="queued", crashes=MAX_CRASHES), FakeTraining()

    async with trainer(runs, training):
        await eventually(lambda: runs.state == "failed")

    assert training.started == 0


async def test_wake_up_shortens_the_wait() -> None:
    runs, training = FakeRuns(labels=99), FakeTraining()

    async with trainer(runs, training, poll_s=3600) as it:
        await eventually(lambda: runs.looks == 1)
        runs.labels = 100
        it.poller.wake()

        await eventually(lambda: training.started)


async def test_database_that_is_away_is_waited_for() -> None:
    runs, training = FakeRuns(labels=100, away=True), FakeTraining()

    async with trainer(runs, training) as it:
        await eventually(lambda: it.poller.state == "failing")
        runs.away = False

        await eventually(lambda: training.started)
        await eventually(lambda: it.poller.state == "looking")  # while it trains


async def test_a_training_is_a_span_that_says_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, training = FakeRuns(labels=100), FakeTraining(Exit.ENDED)
    with Collector().listening() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        begin_tracing("trainer", instance_id="trainer-1")
        async with trainer(runs, training):
            await eventually(lambda: training.started)
        end_tracing()

    (span,) = collector.named("training")
    assert attributes_of(span) == {"run_id": str(runs.run_id), "trigger": "labels", "exit_code": Exit.ENDED}
