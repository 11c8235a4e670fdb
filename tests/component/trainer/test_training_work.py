"""The training process on fakes of its run and its computation: what it leaves for later, and what is a crash."""

import errno
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import numpy as np
import pytest
from loanloop_common.errors import Unavailable
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_trainer.domain.ports import Exit
from loanloop_trainer.model import Hooks, Progress, Ranks, TrainingData
from loanloop_trainer.runner.causes import cause_of
from loanloop_trainer.runner.loading import RowsUnreadable
from loanloop_trainer.runner.orders import Orders
from loanloop_trainer.runner.stalling import WITHOUT_STEPS, TrainingStalls
from loanloop_trainer.runner.training import Work, exit_of
from loanloop_trainer.store.claimed import ClaimedRunStore, FinishedModel, Run, RunLost
from pydantic import ValidationError

from tests.support.tiny_portfolio import write_tiny_portfolio
from tests.support.training_orders import make_orders

NOW = datetime(2005, 1, 1, tzinfo=UTC)
AWAY = [ConnectionRefusedError(), TimeoutError(), asyncpg.InterfaceError("connection is closed")]
OF_THE_COMPUTATION = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EMFILE, "Too many open files"),
    TimeoutError("of something else"),
    Unavailable("bundle v1 can't be loaded by OpenVINO for now: no memory"),
]


class Finished(Exception):
    """What a computation on a fake run ends with."""


@dataclass
class FakeClaimedRun(ClaimedRunStore):
    """One run in memory. `fails` is what each answer but the heartbeat's raises."""

    hyperparameters: dict[str, Any]
    state: str = "running"
    error: str = ""
    fails: Exception | None = None
    run_id: UUID = field(default_factory=uuid4)

    async def fetch_run(self) -> Run:
        return Run(self.run_id, "labels", NOW, NOW, NOW, 1, 0, self.hyperparameters, "portfolio file", 0)

    async def fetch_checkpoint(self) -> bytes | None:
        self._answer()
        return None

    async def fetch_next_version(self) -> str:
        return "v1"

    async def save_checkpoint(self, checkpoint: bytes) -> None:
        pass

    async def beat(self, phase: str, progress: dict[str, Any]) -> None:
        pass

    async def finish(self, model: FinishedModel) -> str:
        self.state = "succeeded"
        return model.version

    async def fail(self, error: str) -> None:
        self._answer()
        self.state, self.error = "failed", error

    def _answer(self) -> None:
        if self.fails is not None:
            raise self.fails


class FakeComputation:
    """Raises what it was given, after the database went away, if it does meanwhile."""

    def __init__(self, error: Exception | None = None, *, loss: float = 0.5) -> None:
        self.started = 0
        self._error = error
        self._loss = loss

    def __call__(
        self,
        data: TrainingData,
        portfolio: Portfolio,
        *,
        version: str,
        hyperparameters_from: str,
        seed: int,
        threads: int | None,
        hooks: Hooks,
        ranks: Ranks,
    ) -> bytes:
        self.started += 1
        hooks.on_progress(Progress("train", step=1, loss=self._loss))
        raise self._error or AssertionError("this computation makes no bundle")


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return make_orders(parent_pid=1, portfolio=str(write_tiny_portfolio(tmp_path)))


@pytest.fixture
def run(orders: Orders) -> FakeClaimedRun:
    return FakeClaimedRun(load_portfolio(orders.portfolio).model.model_dump(mode="json"))


async def load_nothing(run: Run, portfolio: Portfolio) -> TrainingData:
    return TrainingData({}, np.array([], np.bool_), np.array([], "datetime64[us]"))


@pytest.mark.parametrize("away", AWAY, ids=repr)
async def test_database_that_is_away_is_tried_later(run: FakeClaimedRun, orders: Orders, away: Exception) -> None:
    computation = FakeComputation()
    run.fails = away

    code = await exit_of(Work(run, orders, load_nothing, computation).finish_or_fail(), run.run_id)

    assert (code, run.state, computation.started) == (Exit.TRY_LATER, "running", 0)


@pytest.mark.parametrize("error", OF_THE_COMPUTATION, ids=repr)
async def test_same_error_of_the_computation_is_a_crash(run: FakeClaimedRun, orders: Orders, error: Exception) -> None:
    work = Work(run, orders, load_nothing, FakeComputation(error)).finish_or_fail()

    with pytest.raises(type(error)) as crash:
        await exit_of(work, run.run_id)

    assert str(crash.value) == str(error)
    assert run.state == "running"


async def test_full_disk_while_rows_are_loaded_is_a_crash(run: FakeClaimedRun, orders: Orders) -> None:
    run.fails = OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await exit_of(Work(run, orders, load_nothing, FakeComputation()).finish_or_fail(), run.run_id)


async def test_hyperparameter_that_is_none_is_named_by_what_ended_the_training(orders: Orders) -> None:
    run = FakeClaimedRun({**load_portfolio(orders.portfolio).model.model_dump(), "learning_rate": []})

    with pytest.raises(ValidationError) as crash:
        await exit_of(Work(run, orders, load_nothing, FakeComputation()).finish_or_fail(), run.run_id)

    assert cause_of(crash.value) == (
        "the training process ended with ValidationError: learning_rate: Input should be a valid number"
    )


async def test_run_of_another_owner_is_lost(run: FakeClaimedRun, orders: Orders) -> None:
    run.fails = RunLost(run.run_id)

    code = await exit_of(Work(run, orders, load_nothing, FakeComputation()).finish_or_fail(), run.run_id)

    assert code == Exit.LOST


async def test_training_that_can_learn_nothing_ends_the_run_with_a_sentence(
    run: FakeClaimedRun, orders: Orders
) -> None:
    work = Work(run, orders, load_nothing, FakeComputation(loss=float("nan"))).finish_or_fail()

    assert await exit_of(work, run.run_id) == Exit.ENDED

    assert run.state == "failed"
    assert run.error.startswith("the loss is no number any more at step 1 of the phase train")


async def test_loans_that_cannot_be_read_end_the_run_with_a_sentence(run: FakeClaimedRun, orders: Orders) -> None:
    async def unreadable(run: Run, portfolio: Portfolio) -> TrainingData:
        raise RowsUnreadable(2, NOW, "Expected `object`, got `null`")

    assert await exit_of(Work(run, orders, unreadable, FakeComputation()).finish_or_fail(), run.run_id) == Exit.ENDED

    assert run.state == "failed"
    assert run.error.startswith("the features of 2 stored loans can't be read")
    assert run.error.endswith("the table processed_data.")


@pytest.mark.parametrize(
    ("last", "within_s"), [(Progress("train", step=1, steps=9), 0.1), (Progress("boost"), 0.1 * WITHOUT_STEPS)]
)
async def test_computation_that_waits_for_ever_is_a_crash(
    run: FakeClaimedRun, orders: Orders, last: Progress, within_s: float
) -> None:
    """Its thread is seen by nobody else: event loop and heartbeats get on."""
    deadlock = threading.Event()

    def computation(data: TrainingData, portfolio: Portfolio, *, hooks: Hooks, **_: object) -> bytes:
        hooks.on_progress(last)
        deadlock.wait()
        return b""

    work = Work(run, orders.model_copy(update={"stalls_after_s": 0.1}), load_nothing, computation)
    began = time.monotonic()
    try:
        with pytest.raises(TrainingStalls, match=f"no progress for {within_s:g} s in the phase {last.phase};"):
            await exit_of(work.finish_or_fail(), run.run_id)
    finally:
        deadlock.set()

    assert run.state == "running"
    assert within_s <= time.monotonic() - began


async def test_slow_computation_that_gets_on_is_left_alone(run: FakeClaimedRun, orders: Orders) -> None:
    def computation(data: TrainingData, portfolio: Portfolio, *, hooks: Hooks, **_: object) -> bytes:
        for step in range(1, 13):
            hooks.on_progress(Progress("train", step=step, steps=12))
            threading.Event().wait(0.25)
        raise Finished

    work = Work(run, orders.model_copy(update={"stalls_after_s": 1.5}), load_nothing, computation)

    with pytest.raises(Finished):
        await exit_of(work.finish_or_fail(), run.run_id)


def test_crash_ends_the_process_though_its_thread_computes_on() -> None:
    program = """
import asyncio, threading, time
from uuid import uuid4
from loanloop_trainer.runner import training
from loanloop_trainer.runner.lifeline import Lifeline

async def crash_beside_a_computation(run_id, orders, gather):
    threading.Thread(target=time.sleep, args=(600,)).start()
    raise RuntimeError("the heartbeat failed")

training._work = crash_beside_a_computation
asyncio.run(training.work_on(uuid4(), None, Lifeline.on_standard_output()))
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, capture_output=True, text=True)

    assert ended.returncode == Exit.CRASHED
    assert "the heartbeat failed" in ended.stdout + ended.stderr
