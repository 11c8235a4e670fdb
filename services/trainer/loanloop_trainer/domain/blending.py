"""How much of an ensemble's log-odds comes from which model, chosen on validation loans."""

import numpy as np
from loanloop_common.bundle import Calibration
from loanloop_common.features import Floats
from sklearn.metrics import log_loss

from loanloop_trainer.domain.calibration import platt
from loanloop_trainer.domain.split import Mask

SHARES = np.linspace(0.0, 1.0, 21)


def blended(one: Floats, other: Floats, share: float) -> Floats:
    """Log-odds (B,), `share` of them from `one`."""
    mixed: Floats = share * one + (1.0 - share) * other
    return mixed


def best_share(one: Floats, other: Floats, labels: Mask) -> float:
    """The share of `one` with the smallest log loss once it is calibrated; a half where one class is missing."""
    if labels.all() or not labels.any():
        return 0.5
    losses = [_calibrated_loss(blended(one, other, share), labels) for share in SHARES]
    return float(round(SHARES[int(np.argmin(losses))], 2))


def _calibrated_loss(log_odds: Floats, labels: Mask) -> float:
    slope, intercept = platt(log_odds, labels)
    return float(log_loss(labels, Calibration(slope=slope, intercept=intercept).probabilities(log_odds)))
