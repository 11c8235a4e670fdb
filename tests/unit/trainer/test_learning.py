"""Single steps of learning."""

from collections.abc import Iterator

import pytest
from loanloop_trainer.model import Hooks
from loanloop_trainer.model.checkpoint import Position
from loanloop_trainer.model.learning import Learner
from loanloop_trainer.model.lesson import Lesson
from loanloop_trainer.model.loans import EncodedLoans, encoded_loans
from loanloop_trainer.model.phases import classification
from loanloop_trainer.model.training import learner_of
from loanloop_trainer.model.workers import Workers

from tests.support.tiny_training import make_data, small_portfolio

LOANS = encoded_loans(make_data(), small_portfolio())


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(1) as made:
        yield made


def fresh(workers: Workers, loans: EncodedLoans = LOANS) -> Learner:
    learner = learner_of(Lesson(loans, small_portfolio().model, 0, "", None), workers, Hooks())
    learner.enter(Position(phase="train"))
    return learner


def learn(learner: Learner, until: int) -> list[float]:
    objective, losses = classification(learner, LOANS.older), []
    for step, rows in learner.steps(len(objective), 100, 3):
        losses.append(learner.learn(step, rows, objective, learning_rate=1e-2))
        learner.advance(step)
        if step == until:
            break
    return losses


@pytest.mark.parametrize("n_before", [0, 3])
def test_a_rehearsal_changes_nothing(workers: Workers, n_before: int) -> None:
    rehearsed, other = fresh(workers), fresh(workers)
    learn(rehearsed, n_before) if n_before else None
    learn(other, n_before) if n_before else None
    before, objective = rehearsed.to_bytes(), classification(rehearsed, LOANS.older)
    losses = []

    def rehearse() -> None:
        _, rows = next(rehearsed.steps(len(objective), 100, 3))
        losses.append(rehearsed.learn(99, rows, objective, learning_rate=0.5))
        losses.append(rehearsed.learn(99, rows, objective, learning_rate=0.5))

    rehearsed.rehearse(rehearse)

    assert losses[0] != losses[1], "the rehearsal learnt something meanwhile"
    if n_before:
        assert rehearsed.to_bytes() == before
    assert learn(rehearsed, 6) == learn(other, 6)
    assert rehearsed.to_bytes() == other.to_bytes()
