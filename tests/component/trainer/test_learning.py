"""Single steps and phases of learning."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from loanloop_trainer.model.checkpoint import copied
from loanloop_trainer.model.learning import Learner
from loanloop_trainer.model.phases import fine_tune, log_odds, refit
from loanloop_trainer.model.workers import Workers

from tests.support.tiny_training import make_learner, small_loans


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(1, device="cpu") as made:
        yield made


def learn(learner: Learner, until: int) -> list[float]:
    """From where it stands; the losses."""
    losses = []
    for step, rows in learner.steps(75, 3):
        if step > until:
            break
        losses.append(learner.learn(step, rows, learning_rate=1e-2))
        learner.advance(step)
    return losses


@pytest.mark.parametrize("n_before", [0, 3])
def test_a_rehearsal_changes_nothing(workers: Workers, n_before: int) -> None:
    rehearsed, other = (make_learner(workers, "train") for _ in range(2))
    learn(rehearsed, n_before)
    learn(other, n_before)
    losses: list[float] = []

    def rehearse() -> None:
        _, rows = next(rehearsed.steps(75, 3))
        losses.extend(rehearsed.learn(99, rows, learning_rate=0.5) for _ in range(2))

    rehearsed.rehearse(rehearse)

    assert losses[0] != losses[1], "it learnt meanwhile"
    assert learn(rehearsed, 9) == learn(other, 9)
    assert rehearsed.to_bytes() == other.to_bytes()


def test_a_refit_on_the_same_loans_arrives_where_the_first_learning_was_best(workers: Workers) -> None:
    """It starts where that started, and ends in the middle of the same cycle of the learning rate."""
    facts: dict[str, Any] = {"dropout": 0.0, "unknown_share": 0.0, "epochs": 8, "patience": 8, "learning_rate": 0.1}
    loans = small_loans(**facts)
    learner = make_learner(workers, "train", **facts)
    learner.pretrained = copied(learner.network)
    fine_tune(learner, loans, lambda _: None, lambda *_: None)
    assert learner.position.best_epoch < 8

    learner.enter(replace(learner.position, phase="refit", step=0))
    refit(learner, replace(loans, labelled=loans.older), lambda _: None)

    for name, tensor in learner.network.state_dict().items():
        assert torch.equal(learner.best[name], tensor), name


def test_looking_at_held_out_loans_leaves_dropout_as_it_was(workers: Workers) -> None:
    learner = make_learner(workers, "train")
    for training in (True, False):
        learner.network.train(training)
        log_odds(learner.network, small_loans().newer.inputs, workers)
        assert learner.network.training is training
