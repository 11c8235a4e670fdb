"""Steps as graphs of the GPU; that a whole training is the same by seed and after a kill, its own tests show there."""

from collections.abc import Callable, Iterator

import pytest
import torch
from loanloop_trainer.model import Hooks
from loanloop_trainer.model.checkpoint import LearningPhase, Position
from loanloop_trainer.model.learning import Learner, Objective, inputs_of
from loanloop_trainer.model.lesson import Lesson
from loanloop_trainer.model.loans import EncodedLoans, encoded_loans
from loanloop_trainer.model.phases import classification, contrastive
from loanloop_trainer.model.training import learner_of
from loanloop_trainer.model.workers import Workers

from tests.support.tiny_training import make_data, small_portfolio

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: torch sees none")

Objectives = dict[LearningPhase, Callable[[Learner, EncodedLoans], Objective]]
OBJECTIVES: Objectives = {
    "pretrain": lambda learner, loans: contrastive(learner, loans.older.inputs),
    "train": lambda learner, loans: classification(learner, loans.older),
}


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers() as made:
        yield made


def learnt(workers: Workers, phase: LearningPhase, *, captures: bool) -> tuple[Learner, list[float]]:
    """After three epochs of batches of two sizes, and the losses on the way."""
    portfolio = small_portfolio()
    loans = encoded_loans(make_data(), portfolio)
    learner = learner_of(Lesson(loans, portfolio.model, 0, "", None), workers, Hooks())
    learner.captures = captures
    learner.enter(Position(phase=phase))
    objective = OBJECTIVES[phase](learner, loans)
    steps = learner.steps(len(objective), 100, 3)
    losses = [learner.learn(step, rows, objective, learning_rate=1e-3 * step) for step, rows in steps]
    return learner, losses


@pytest.mark.parametrize("phase", OBJECTIVES)
def test_a_captured_step_learns_what_a_launched_one_does(workers: Workers, phase: LearningPhase) -> None:
    captured, their_losses = learnt(workers, phase, captures=True)
    launched, losses = learnt(workers, phase, captures=False)
    assert len(set(losses)) == len(losses) > 12
    torch.testing.assert_close(torch.tensor(their_losses), torch.tensor(losses), rtol=1e-3, atol=1e-4)
    # Not weight by weight: the bias of k has no slope but rounding's, which AdamW makes as large as any.
    loans = encoded_loans(make_data(), small_portfolio()).newer.inputs
    torch.testing.assert_close(
        *(learner.network.eval().pooled(*inputs_of(loans, workers.device)) for learner in (captured, launched)),
        rtol=1e-3,
        atol=1e-3,
    )


def test_each_captured_step_draws_anew(workers: Workers) -> None:
    """The same rows without learning: only what drops out differs."""
    portfolio = small_portfolio(dropout=0.5)
    loans = encoded_loans(make_data(), portfolio)
    learner = learner_of(Lesson(loans, portfolio.model, 0, "", None), workers, Hooks())
    learner.enter(Position(phase="train"))
    learner.network.train()
    objective, rows = classification(learner, loans.older), torch.arange(100, device=learner.device)
    losses = [learner.learn(step, rows, objective, learning_rate=0.0) for step in (1, 2, 3, 4, 3, 1)]
    assert len(set(losses[:4])) == 4
    assert losses[4:] == [losses[2], losses[0]]


def test_a_captured_training_goes_on_from_a_checkpoint_to_the_same_bits(workers: Workers) -> None:
    portfolio = small_portfolio()
    loans = encoded_loans(make_data(), portfolio)

    def fresh() -> tuple[Learner, Objective]:
        learner = learner_of(Lesson(loans, portfolio.model, 0, "", None), workers, Hooks())
        learner.enter(Position(phase="train"))
        learner.network.train()
        return learner, classification(learner, loans.older)

    def go_on(learner: Learner, objective: Objective, until: int) -> None:
        for step, rows in learner.steps(len(objective), 100, 3):
            learner.learn(step, rows, objective, learning_rate=1e-2)
            learner.advance(step)
            if step == until:
                return

    learner, objective = fresh()
    go_on(learner, objective, 7)
    kept = learner.to_bytes()
    go_on(learner, objective, 12)
    resumed, objective = fresh()
    resumed.resume(kept)
    go_on(resumed, objective, 12)
    for theirs, ours in zip(resumed.network.parameters(), learner.network.parameters(), strict=True):
        assert torch.equal(theirs, ours)
