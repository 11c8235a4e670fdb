"""From scores to probabilities (Platt) and from probabilities to a threshold, both on validation loans."""

import numpy as np
from loanloop_common.bundle import Calibration, declines
from loanloop_common.features import Floats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
)

from loanloop_trainer.domain.split import Mask


def platt(log_odds: Floats, labels: Mask) -> tuple[float, float]:
    """(slope, intercept); the identity where the log-odds don't rise with the labels or one class is missing."""
    if labels.all() or not labels.any():
        return 1.0, 0.0
    fitted = LogisticRegression(C=1e6).fit(log_odds[:, None], labels)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return (slope, intercept) if slope > 1e-6 else (1.0, 0.0)


def best_threshold(probabilities: Floats, labels: Mask) -> float:
    """The threshold with the highest F1 of the default class; 0.5 where there is no default."""
    if not labels.any():
        return 0.5
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1[:-1]))
    # Halfway to the next lower score: the threshold itself then is no loan's score, and rounding can't flip one.
    below = thresholds[best - 1] if best > 0 else 0.0
    return float((thresholds[best] + below) / 2)


def fitted_on_validation(log_odds: Floats, labels: Mask) -> tuple[Calibration, float]:
    """Calibration and threshold of a model that said `log_odds` of loans that it had not learnt from."""
    slope, intercept = platt(log_odds, labels)
    calibration = Calibration(slope=slope, intercept=intercept)
    return calibration, best_threshold(calibration.probabilities(log_odds), labels)


def validation_metrics(probabilities: Floats, labels: Mask, threshold: float) -> dict[str, float | None]:
    """Of the default class. ROC-AUC and PR-AUC are None where one class is missing."""
    declined = declines(probabilities, threshold)
    both = bool(labels.any() and not labels.all())
    return {
        "n_loans": float(len(labels)),
        "share_defaulted": float(labels.mean()),
        "roc_auc": float(roc_auc_score(labels, probabilities)) if both else None,
        "pr_auc": float(average_precision_score(labels, probabilities)) if both else None,
        "f1": float(f1_score(labels, declined, zero_division=0)),
        "precision": float(precision_score(labels, declined, zero_division=0)),
        "recall": float(recall_score(labels, declined, zero_division=0)),
        "accuracy": float(accuracy_score(labels, declined)),
        "brier": float(brier_score_loss(labels, probabilities)),
    }
