"""Confidence bounds. Each bound is one-sided: the truth lies below `upper` with probability `confidence`.

F1 of pooled counts: F1 = 2J / (1 + J) with J = TP / (TP + FP + FN), which is the F* of Hand, Christen and
Kirielle (2021), and a proportion of the TP + FP + FN loans that are not true negatives. Wilson's score bound
(1927) of J, transformed, bounds F1: the "Wilson indirect" method of Lam, Gopal and Qian (2023, arXiv:2309.14621).
ROC-AUC: the standard error of Hanley and McNeil (1982).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from loanloop_evaluator.domain.metrics import roc_auc_of
from loanloop_evaluator.domain.scored import Confusion, Scored

RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class Bounds:
    lower: float
    upper: float


def wilson_bounds(successes: int, n: int, confidence: float) -> Bounds:
    """Wilson's score bounds of a proportion; 0 and 1 without any trial."""
    if n == 0:
        return Bounds(0.0, 1.0)
    z = NormalDist().inv_cdf(confidence)
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Bounds(max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


def f1_bounds(counts: Confusion, confidence: float) -> Bounds:
    j = wilson_bounds(counts.tp, counts.tp + counts.fp + counts.fn, confidence)
    return Bounds(2 * j.lower / (1 + j.lower), 2 * j.upper / (1 + j.upper))


def roc_auc_bounds(auc: float, n_defaulted: int, n_repaid: int, confidence: float) -> Bounds:
    q1 = auc / (2 - auc)
    q2 = 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (n_defaulted - 1) * (q1 - auc * auc) + (n_repaid - 1) * (q2 - auc * auc)
    half = NormalDist().inv_cdf(confidence) * math.sqrt(max(0.0, variance) / (n_defaulted * n_repaid))
    return Bounds(max(0.0, auc - half), min(1.0, auc + half))


def metric_bounds(scored: Scored, metric: str, confidence: float) -> Bounds | None:
    """Bounds of the policy's metric in closed form; None where the metric is undefined."""
    counts = scored.confusion
    if metric == "f1":
        return None if counts.f1 is None else f1_bounds(counts, confidence)
    auc = roc_auc_of(scored)
    return None if auc is None else roc_auc_bounds(auc, counts.tp + counts.fn, counts.fp + counts.tn, confidence)


def bootstrap_bounds(scored: Scored, metric: str, confidence: float, seed: int) -> Bounds | None:
    """Percentile bootstrap of the policy's metric; the same seed gives the same bounds."""
    draw = _bootstrap_f1 if metric == "f1" else _bootstrap_roc_auc
    values = draw(scored, np.random.default_rng(seed))
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    lower, upper = np.quantile(values, [1 - confidence, confidence])
    return Bounds(float(lower), float(upper))


def _bootstrap_f1(scored: Scored, rng: np.random.Generator) -> NDArray[np.float64]:
    # Resampling loans and counting them is one multinomial draw of the counts.
    counts = scored.confusion
    cells = np.array([counts.tp, counts.fp, counts.tn, counts.fn], dtype=np.float64)
    tp, fp, _, fn = rng.multinomial(counts.n, cells / counts.n, size=RESAMPLES).T
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * tp / (2 * tp + fp + fn), dtype=np.float64)


def _bootstrap_roc_auc(scored: Scored, rng: np.random.Generator) -> NDArray[np.float64]:
    auc = _weighted_roc_auc(scored)
    n = len(scored)
    return np.array([auc(np.bincount(rng.integers(0, n, n), minlength=n)) for _ in range(RESAMPLES)])


def _weighted_roc_auc(scored: Scored) -> Callable[[NDArray[np.int64]], float]:
    """ROC-AUC of the loans taken so many times each; sorting them is done once."""
    order = np.argsort(scored.probability, kind="stable")
    probability, defaulted = scored.probability[order], scored.defaulted[order]
    starts = np.flatnonzero(np.r_[True, probability[1:] != probability[:-1]])

    def auc(times: NDArray[np.int64]) -> float:
        taken = times[order]
        bad = np.add.reduceat(taken * defaulted, starts)
        good = np.add.reduceat(taken * ~defaulted, starts)
        pairs = int(bad.sum()) * int(good.sum())
        below = np.cumsum(good) - good
        return float((bad * (below + 0.5 * good)).sum() / pairs) if pairs else math.nan

    return auc
