"""A training that takes seconds: loans whose outcome can be learnt, and a network of one narrow block."""

from typing import Any

import numpy as np
from loanloop_common.portfolio import ModelConfig, Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_trainer.model import Hooks, TrainedModel, TrainingData
from loanloop_trainer.model.checkpoint import LearningPhase, Position
from loanloop_trainer.model.learning import Learner
from loanloop_trainer.model.lesson import Lesson
from loanloop_trainer.model.loans import EncodedLoans, encoded_loans
from loanloop_trainer.model.phases import classification, contrastive
from loanloop_trainer.model.training import learner_of
from loanloop_trainer.model.workers import Workers

N_LOANS = 600


class Killed(Exception):
    """The process ends here."""


def small_portfolio(**changes: Any) -> Portfolio:
    tiny: dict[str, Any] = {
        "d_model": 8,
        "n_layers": 1,
        "n_heads": 2,
        "d_feedforward": 8,
        "min_count": 5,
        "pretrain_batch_size": 128,
    }
    tiny |= {"pretrain_epochs": 2, "epochs": 4, "patience": 2, "batch_size": 128, "learning_rate": 1e-2, "min_steps": 0}
    return load_portfolio("sba").model_copy(update={"model": ModelConfig(**(tiny | changes))})


def make_data(n_loans: int = N_LOANS, seed: int = 0) -> TrainingData:
    """Loans whose term tells nearly all, and whose state tells a little."""
    chance = np.random.default_rng(seed)
    state = chance.choice(["CA", "TX", "NY"], n_loans)
    term = chance.choice([84, 120, 77, 55], n_loans)
    defaulted = chance.random(n_loans) < np.where(term % 12 == 0, 0.1, 0.8) * np.where(state == "CA", 0.6, 1.0)
    example = {f.name: f.example for f in load_portfolio("sba").features.values()}
    columns: dict[str, list[Any]] = {name: [value] * n_loans for name, value in example.items()}
    columns |= {"state": state.tolist(), "term_months": term.tolist()}
    columns["employees"] = chance.integers(0, 50, n_loans).tolist()
    return TrainingData(
        columns, defaulted, np.datetime64("2005-01-01", "us") + np.arange(n_loans) * np.timedelta64(6, "h")
    )


def weights_of(trained: TrainedModel) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in trained.network.state_dict().values()]


def small_loans(**changes: Any) -> EncodedLoans:
    return encoded_loans(make_data(), small_portfolio(**changes))


def make_learner(workers: Workers, phase: LearningPhase, *, captures: bool | None = None, **changes: Any) -> Learner:
    """With random weights, at the start of a phase."""
    loans, config = small_loans(**changes), small_portfolio(**changes).model
    learner = learner_of(Lesson(loans, config, 0, "", None), workers, Hooks(), captures=captures)
    learner.enter(Position(phase=phase))
    older = loans.older
    learner.start(contrastive(learner, older.inputs) if phase == "pretrain" else classification(learner, older))
    return learner
