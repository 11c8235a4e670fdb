"""Steps as graphs of the GPU; that a whole training is the same by seed and after a kill, its own tests show there."""

from collections.abc import Iterator

import pytest
import torch
from loanloop_trainer.model.checkpoint import LearningPhase
from loanloop_trainer.model.learning import Learner
from loanloop_trainer.model.loans import inputs_of
from loanloop_trainer.model.workers import Workers

from tests.support.tiny_training import make_learner, small_loans

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: torch sees none")

TWO_SIZES = {78, 77}  # of the batches of 540 loans


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers() as made:
        yield made


def learn(learner: Learner, sizes: set[int], until: int = 21) -> list[float]:
    """From where it stands; the losses."""
    losses, seen = [], set()
    for step, rows in learner.steps(max(sizes), 11):
        if step > until:
            break
        seen.add(len(rows))
        losses.append(learner.learn(step, rows, learning_rate=1e-3 * step))
        learner.advance(step)
    assert seen == sizes
    return losses


@pytest.mark.parametrize("phase", ["pretrain", "train"])
def test_a_captured_step_learns_what_a_launched_one_does(workers: Workers, phase: LearningPhase) -> None:
    captured, launched = (make_learner(workers, phase, captures=captures) for captures in (True, False))
    losses = learn(captured, TWO_SIZES)
    assert len(set(losses)) == len(losses) == 21
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(learn(launched, TWO_SIZES)), rtol=1e-3, atol=1e-4)
    # Not weight by weight: the bias of k has no gradient but rounding's, which AdamW makes as large as any.
    loans = inputs_of(small_loans().newer.inputs, workers.device)
    theirs, ours = (learner.network.eval().pooled(*loans) for learner in (captured, launched))
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-3)


def test_each_captured_step_draws_anew_and_by_its_number(workers: Workers) -> None:
    """The same rows without learning: only what drops out differs."""
    learner = make_learner(workers, "train", dropout=0.5)
    rows = torch.arange(100, device=learner.device)
    losses = [learner.learn(step, rows, learning_rate=0.0) for step in (1, 2, 3, 4, 3, 1)]
    assert len(set(losses[:4])) == 4
    assert losses[4:] == [losses[2], losses[0]]


# 135 in pretraining, which sees them twice, and 270 look up so many values that torch would sum their gradient in an
# order of chance.
@pytest.mark.parametrize(("phase", "sizes"), [("pretrain", {135}), ("train", TWO_SIZES), ("train", {270})])
def test_a_captured_training_goes_on_from_a_checkpoint_to_the_same_bits(
    workers: Workers, phase: LearningPhase, sizes: set[int]
) -> None:
    learner, resumed = (make_learner(workers, phase) for _ in range(2))
    learn(learner, sizes, until=7)
    kept, objective = learner.to_bytes(), resumed.objective
    learn(learner, sizes, until=12)
    resumed.resume(kept)
    resumed.start(objective)
    learn(resumed, sizes, until=12)
    for theirs, ours in zip(resumed.network.parameters(), learner.network.parameters(), strict=True):
        assert torch.equal(theirs, ours)
