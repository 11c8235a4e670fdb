"""One training on several processes, real ones: the same weights, the same resumption, and none is missed for long."""

import asyncio
import os
import signal
import time
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest
import torch
from loanloop_common.portfolio import Portfolio
from loanloop_trainer.model import Hooks, TrainedModel, train
from loanloop_trainer.runner.following import FollowerLost, Together, together
from loanloop_trainer.runner.reporting import LossUndefined, refuse_undefined
from loanloop_trainer.runner.training import unless_lost

from tests.support.tiny_training import Killed, make_data, small_portfolio, weights_of
from tests.support.training_orders import make_orders

pytestmark = pytest.mark.timeout(180)


def processes(n: int) -> AbstractAsyncContextManager[Together]:
    return together(make_orders(processes=n))


async def trained_by(n: int, portfolio: Portfolio, hooks: Hooks | None = None) -> TrainedModel:
    async with processes(n) as group:
        learning = asyncio.to_thread(
            train, make_data(), portfolio, seed=1, threads=1, hooks=hooks or Hooks(), ranks=group.ranks
        )
        trained = await unless_lost(learning, group)
        await group.watch()
    return trained


def trained_by_threads(n: int, portfolio: Portfolio) -> TrainedModel:
    return train(make_data(), portfolio, seed=1, threads=n)


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU one process learns a batch whole, not in two parts")
async def test_two_processes_give_the_bits_of_two_threads() -> None:
    apart = await trained_by(2, small_portfolio())
    beside = trained_by_threads(2, small_portfolio())

    assert weights_of(apart) == weights_of(beside)
    assert (apart.threshold, apart.metrics) == (beside.threshold, beside.metrics)


async def test_two_processes_learn_what_one_learns() -> None:
    same = {"dropout": 0.0, "pretrain_epochs": 0}  # what is drawn depends on the part
    apart, alone = await trained_by(2, small_portfolio(**same)), trained_by_threads(1, small_portfolio(**same))

    for one, other in zip(apart.network.parameters(), alone.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert apart.metrics["roc_auc"] == pytest.approx(alone.metrics["roc_auc"], abs=1e-3)


async def test_three_processes_go_on_though_a_batch_has_two_parts() -> None:
    three, two = await trained_by(3, small_portfolio()), await trained_by(2, small_portfolio())

    for one, other in zip(three.network.parameters(), two.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("killed_after", [3, 20])
async def test_a_killed_training_of_two_processes_resumes_to_the_same_bits(killed_after: int) -> None:
    kept: list[bytes] = []

    def save_until_killed(checkpoint: bytes) -> None:
        kept.append(checkpoint)
        if len(kept) == killed_after:
            raise Killed

    with pytest.raises((Killed, FollowerLost)):
        await trained_by(2, small_portfolio(), Hooks(save_checkpoint=save_until_killed, checkpoint_every_s=0))
    resumed = await trained_by(2, small_portfolio(), Hooks(checkpoint=kept[-1]))

    assert weights_of(resumed) == weights_of(await trained_by(2, small_portfolio()))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_lost_process_ends_the_training_at_once_and_by_name(how: signal.Signals) -> None:
    lost_at: list[float] = []

    async with processes(2) as group:

        def kill_in_the_midst(checkpoint: bytes) -> None:
            if not lost_at:
                lost_at.append(time.monotonic())
                os.kill(group.followers[0].pid, how)

        hooks = Hooks(save_checkpoint=kill_in_the_midst, checkpoint_every_s=0)
        learning = asyncio.to_thread(
            train, make_data(), small_portfolio(epochs=200, patience=200), seed=1, hooks=hooks, ranks=group.ranks
        )
        with pytest.raises(FollowerLost, match=f"process 2 of 2 of this training was killed by {how.name}"):
            await unless_lost(learning, group)

    assert time.monotonic() - lost_at[0] < 20


async def test_a_silent_process_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loanloop_trainer.model.ranks.ANSWER_WITHIN", timedelta(seconds=20))  # to meet, too

    async with processes(2) as group:

        def stop_in_the_midst(checkpoint: bytes) -> None:
            os.kill(group.followers[0].pid, signal.SIGSTOP)

        hooks = Hooks(save_checkpoint=stop_in_the_midst, checkpoint_every_s=0)
        learning = asyncio.to_thread(train, make_data(), small_portfolio(), seed=1, hooks=hooks, ranks=group.ranks)
        with pytest.raises(RuntimeError, match=r"(?i)time.?d? ?out"):
            await asyncio.wait_for(unless_lost(learning, group), timeout=90)


async def test_all_processes_end_where_nothing_can_be_learnt() -> None:
    hooks = Hooks(on_progress=refuse_undefined)

    async with processes(2) as group:
        learning: Any = asyncio.to_thread(
            train, make_data(), small_portfolio(learning_rate=1e30), seed=1, hooks=hooks, ranks=group.ranks
        )
        with pytest.raises(LossUndefined):
            await unless_lost(learning, group)
        assert await group.followers[0].wait() == 0
