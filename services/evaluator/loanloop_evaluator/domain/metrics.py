"""Figures of a set of decided loans whose outcome is known. The class that counts is default."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

HISTOGRAM_BINS = 20
METRIC_NAMES = {"f1": "F1", "roc_auc": "ROC-AUC"}


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of declined (predicted to default) against defaulted."""

    tp: int = 0
    fp: int = 0
    tn: int = 0
    fn: int = 0

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.tn + other.tn, self.fn + other.fn)

    @property
    def n(self) -> int:
        return self.tp + self.fp + self.tn + self.fn

    @property
    def f1(self) -> float | None:
        """None where it is undefined: no default, and none predicted."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float | None:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def accuracy(self) -> float | None:
        return _ratio(self.tp + self.tn, self.n)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True, slots=True)
class Scored:
    """Loans with score, decision and outcome; arrays of one length, in any order."""

    probability: NDArray[np.float64]
    declined: NDArray[np.bool_]
    defaulted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.probability)

    def part(self, chosen: Any) -> "Scored":
        """The loans that a slice, mask or index array chooses."""
        return Scored(self.probability[chosen], self.declined[chosen], self.defaulted[chosen])

    @property
    def confusion(self) -> Confusion:
        tp = int(np.count_nonzero(self.declined & self.defaulted))
        fp = int(np.count_nonzero(self.declined)) - tp
        fn = int(np.count_nonzero(self.defaulted)) - tp
        return Confusion(tp=tp, fp=fp, tn=len(self) - tp - fp - fn, fn=fn)

    @property
    def roc_auc(self) -> float | None:
        """None unless both classes are there."""
        if not self.defaulted.any() or self.defaulted.all():
            return None
        return float(roc_auc_score(self.defaulted, self.probability))


def metric_of(scored: Scored, metric: str) -> float | None:
    """The policy's metric: `f1` of the decisions, or `roc_auc` of the scores."""
    return scored.confusion.f1 if metric == "f1" else scored.roc_auc


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
        "roc_auc": scored.roc_auc,
        "pr_auc": float(average_precision_score(scored.defaulted, scored.probability)) if some_default else None,
        "brier": float(brier_score_loss(scored.defaulted, scored.probability)) if counts.n else None,
        "share_defaulted": _ratio(counts.tp + counts.fn, counts.n),
        "histogram": histogram_of(scored.probability),
    }


def histogram_of(probability: NDArray[np.float64]) -> list[int]:
    """How many scores fall into each of 20 equal bins of 0 to 1."""
    return [int(n) for n in np.histogram(probability, bins=HISTOGRAM_BINS, range=(0.0, 1.0))[0]]
