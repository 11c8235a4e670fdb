"""What a model's scores of loans with a known end are worth, before and after calibration."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from loanloop_common.bundle import Calibration
from loanloop_common.features import Floats
from loanloop_trainer.domain.calibration import validation_metrics
from loanloop_trainer.domain.split import Mask
from sklearn.metrics import brier_score_loss

N_BINS = 20
UNCALIBRATED = Calibration(slope=1.0, intercept=0.0)
FIGURES = {"roc_auc": "roc_auc", "average_precision": "pr_auc", "brier": "brier", "f1": "f1"}


@dataclass(frozen=True)
class Reliability:
    """Loans by predicted probability, in equal bins of 0 to 1; sums, so that those of several models can be added."""

    n_loans: list[int]
    expected: list[float]
    defaulted: list[int]

    def __add__(self, other: "Reliability") -> "Reliability":
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return Reliability(*[[a + b for a, b in zip(one, two, strict=True)] for one, two in pairs])


@dataclass(frozen=True)
class Verdict:
    """Figures of the default class on the judged loans; the threshold is from validation loans."""

    figures: dict[str, float]
    uncalibrated: Reliability
    calibrated: Reliability

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Verdict":
        return cls(data["figures"], Reliability(**data["uncalibrated"]), Reliability(**data["calibrated"]))


def reliability(probabilities: Floats, defaulted: Mask) -> Reliability:
    bins = np.minimum((probabilities * N_BINS).astype(int), N_BINS - 1)
    return Reliability(
        n_loans=np.bincount(bins, minlength=N_BINS).tolist(),
        expected=np.bincount(bins, weights=probabilities, minlength=N_BINS).tolist(),
        defaulted=np.bincount(bins[defaulted], minlength=N_BINS).tolist(),
    )


def verdict(log_odds: Floats, defaulted: Mask, calibration: Calibration, threshold: float) -> Verdict:
    """Raises ValueError where a class is missing: then nothing can be judged."""
    before, after = UNCALIBRATED.probabilities(log_odds), calibration.probabilities(log_odds)
    metrics = validation_metrics(after, defaulted, threshold)
    figures = {name: metrics[key] for name, key in FIGURES.items()}
    if None in figures.values():
        raise ValueError("among the judged loans one class is missing")
    figures["brier_uncalibrated"] = float(brier_score_loss(defaulted, before))
    return Verdict(
        {name: float(value) for name, value in figures.items() if value is not None},
        reliability(before, defaulted),
        reliability(after, defaulted),
    )
