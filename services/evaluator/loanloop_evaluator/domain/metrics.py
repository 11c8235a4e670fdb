"""The figures of decided loans whose outcome is known."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from loanloop_evaluator.domain.scored import Scored, ratio

HISTOGRAM_BINS = 20
METRIC_NAMES = {"f1": "F1", "roc_auc": "ROC-AUC"}


def roc_auc_of(scored: Scored) -> float | None:
    """None unless both classes are there."""
    if not scored.defaulted.any() or scored.defaulted.all():
        return None
    return float(roc_auc_score(scored.defaulted, scored.probability))


def metric_of(scored: Scored, metric: str) -> float | None:
    """The policy's metric: `f1` of the decisions, or `roc_auc` of the scores."""
    return scored.confusion.f1 if metric == "f1" else roc_auc_of(scored)


def figures_of(scored: Scored) -> dict[str, Any]:
    """Every figure that is stored, as JSON; None where it is undefined."""
    counts = scored.confusion
    some_default = bool(scored.defaulted.any())
    return {
        "n_loans": counts.n,
        "tp": counts.tp,
        "fp": counts.fp,
        "tn": counts.tn,
        "fn": counts.fn,
        "f1": counts.f1,
        "precision": counts.precision,
        "recall": counts.recall,
        "accuracy": counts.accuracy,
        "roc_auc": roc_auc_of(scored),
        "pr_auc": float(average_precision_score(scored.defaulted, scored.probability)) if some_default else None,
        "brier": float(brier_score_loss(scored.defaulted, scored.probability)) if counts.n else None,
        "share_defaulted": ratio(counts.tp + counts.fn, counts.n),
        "histogram": histogram_of(scored.probability),
    }


def histogram_of(probability: NDArray[np.float64]) -> list[int]:
    """How many scores fall into each of 20 equal bins of 0 to 1."""
    return [int(n) for n in np.histogram(probability, bins=HISTOGRAM_BINS, range=(0.0, 1.0))[0]]
