"""Gradient boosting beside the network, on the same encoded loans, by scikit-learn.

A category is the share of defaults among the training loans with its value, cross-fitted while the trees learn, so that
a tree sees of a loan's category only what other loans say. The tables of these shares and the trees are what is served.
Where older loans count less, they do so for the trees; in the shares all count alike.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from loanloop_common.errors import LoanloopError
from loanloop_common.features import MISSING, EncodedBatch, Encoder, Floats
from loanloop_common.portfolio import ModelConfig
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import TargetEncoder
from threadpoolctl import threadpool_limits

from loanloop_trainer.domain.split import Mask
from loanloop_trainer.model.loans import LabelledLoans

Singles = npt.NDArray[np.float32]

FOLDS = 5
JUDGED_EVERY = 10  # trees
MISSING_NUMBER = -1000.0  # below every scaled number: a tree can tell it from all of them


class TooFewToBoost(LoanloopError):
    """One class has hardly a loan among those that the trees would learn from."""

    def __init__(self, n: int) -> None:
        super().__init__(
            f'kind = "ensemble" needs at least {FOLDS} defaulted and {FOLDS} repaid loans to learn from, and one class '
            f'has {n}: send more outcomes, or set kind = "tabtransformer"'
        )


@dataclass(frozen=True)
class Boosting:
    """Trees that are fitted. `tables`: share of defaults by the encoder's id, for each category."""

    tables: tuple[Singles, ...]
    fitted: HistGradientBoostingClassifier
    n_trees: int

    def inputs(self, loans: EncodedBatch) -> Singles:
        """(B, C + K) what the trees compare with their thresholds."""
        shares = [table[loans.x_cat[:, i]] for i, table in enumerate(self.tables)]
        return np.column_stack([*shares, _numbers(loans)]).astype(np.float32)

    def log_odds(self, loans: EncodedBatch) -> Floats:
        """(B,) of default, as scikit-learn computes them."""
        with _one_thread():
            stages = self.fitted.staged_decision_function(self.inputs(loans))
            return np.asarray(next(s for i, s in enumerate(stages, start=1) if i == self.n_trees), np.float64)


def best_boosted(
    encoder: Encoder, older: LabelledLoans, newer: LabelledLoans, config: ModelConfig, *, seed: int
) -> Boosting:
    """Learns on the older loans and keeps as many trees as rank the newer ones best. Raises TooFewToBoost."""
    boosting = boosted(encoder, older, config, n_trees=config.trees, seed=seed)
    return replace(boosting, n_trees=_best_stage(boosting, newer))


def refuse_too_few(learnt: LabelledLoans) -> None:
    """Raises TooFewToBoost, which a training asks for before its network learns for minutes."""
    fewest = int(min(learnt.defaulted.sum(), (~learnt.defaulted).sum()))
    if fewest < FOLDS:
        raise TooFewToBoost(fewest)


def boosted(encoder: Encoder, learnt: LabelledLoans, config: ModelConfig, *, n_trees: int, seed: int) -> Boosting:
    """Raises TooFewToBoost."""
    refuse_too_few(learnt)
    loans, defaulted = learnt.inputs, learnt.defaulted
    shares, tables = _cross_fitted(encoder, loans, defaulted, seed)
    inputs = np.column_stack([shares, _numbers(loans)]).astype(np.float32)
    fitted = HistGradientBoostingClassifier(
        learning_rate=config.tree_learning_rate,
        max_iter=n_trees,
        max_depth=config.tree_depth,
        max_leaf_nodes=2**config.tree_depth,
        min_samples_leaf=config.tree_min_loans,
        early_stopping=False,
        random_state=seed,
    )
    with _one_thread():
        fitted.fit(inputs, defaulted, learnt.weights / learnt.weights.mean())
    return Boosting(tables, fitted, n_trees)


def _numbers(loans: EncodedBatch) -> Singles:
    numbers: Singles = np.where(loans.x_exact == MISSING, np.float32(MISSING_NUMBER), loans.x_num)
    return numbers


def _one_thread() -> threadpool_limits:
    """A tree takes milliseconds, and its threads wait for the one whose core is busy with what serves: two threads were
    seen to take 1.4 s on free cores and 26 s on busy ones, for as many trees on the same 62,000 loans."""
    return threadpool_limits(limits=1, user_api="openmp")


def _cross_fitted(
    encoder: Encoder, loans: EncodedBatch, defaulted: Mask, seed: int
) -> tuple[Floats, tuple[Singles, ...]]:
    """(B, C) for the trees to learn from, and for each category the table that is served."""
    if not encoder.categories:
        return np.empty((len(defaulted), 0)), ()
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    statistics = TargetEncoder(target_type="binary", cv=folds)
    shares = statistics.fit_transform(loans.x_cat, defaulted)
    tables = []
    for i, category in enumerate(encoder.categories):
        table = np.full(category.n_ids, statistics.target_mean_, np.float32)
        table[statistics.categories_[i]] = statistics.encodings_[i]
        tables.append(table)
    return shares, tuple(tables)


def _best_stage(boosting: Boosting, newer: LabelledLoans) -> int:
    defaulted = newer.defaulted
    if defaulted.all() or not defaulted.any():
        return boosting.n_trees
    with _one_thread():
        stages = boosting.fitted.staged_decision_function(boosting.inputs(newer.inputs))
        scores = {
            n: roc_auc_score(defaulted, stage)
            for n, stage in enumerate(stages, start=1)
            if n % JUDGED_EVERY == 0 or n == boosting.n_trees
        }
    return max(scores, key=lambda n: (scores[n], -n))
