"""The leak audit: how well each feature alone, out of time, tells the outcome."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from loanloop_common.features import Column, Columns
from sklearn.metrics import roc_auc_score

from loanloop_trainer.domain.split import Mask, Times, split_by_day

NEARLY_DECIDES = 0.90
NEWEST_SHARE = 0.3
_PRIOR_LOANS = 20.0
_N_QUANTILES = 20


@dataclass(frozen=True)
class Finding:
    feature: str
    roc_auc: float | None
    warning: str | None


def audit_features(columns: Columns, labels: Mask, occurred_at: Times, *, numbers: frozenset[str]) -> list[Finding]:
    """One finding a column, the most telling first. Rates learnt on older loans rank the newest 30 %."""
    split = split_by_day(occurred_at, validation_share=NEWEST_SHARE)
    findings = []
    for name, column in columns.items():
        rates = _number_rates if name in numbers else _category_rates
        findings.append(_finding(name, rates(column, labels, split.train)[split.validation], labels[split.validation]))
    return sorted(findings, key=lambda finding: (-(finding.roc_auc or 0.0), finding.feature))


def _finding(name: str, scores: npt.NDArray[np.float64], labels: Mask) -> Finding:
    if labels.all() or not labels.any():
        return Finding(name, None, None)
    auc = float(roc_auc_score(labels, scores))
    if auc < NEARLY_DECIDES:
        return Finding(name, auc, None)
    return Finding(
        name,
        auc,
        f"{name} alone gives ROC-AUC {auc:.3f} out of time: it nearly decides the outcome. "
        "Check that it is not written or edited after the outcome",
    )


def _category_rates(column: Column, labels: Mask, known: Mask) -> npt.NDArray[np.float64]:
    keys = np.array(["\0missing" if value is None else str(value) for value in column])
    prior = np.full(len(keys), labels[known].mean())
    return _rates(keys, labels, known, prior)


def _number_rates(column: Column, labels: Mask, known: Mask) -> npt.NDArray[np.float64]:
    """By exact value where it is frequent, by its twentieth of the loans in order of size where it is not."""
    values = np.nan_to_num(np.asarray(column, np.float64), nan=-np.inf)
    finite = values[known & np.isfinite(values)]
    edges = np.quantile(finite, np.linspace(0, 1, _N_QUANTILES + 1)[1:-1]) if len(finite) else np.empty(0)
    prior = np.full(len(values), labels[known].mean())
    by_quantile = _rates(np.searchsorted(edges, values), labels, known, prior)
    return _rates(values, labels, known, by_quantile)


def _rates(
    keys: npt.NDArray[Any], labels: Mask, known: Mask, prior: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Share of defaults among the known loans with the same key, drawn towards `prior` where they are few."""
    _, ids = np.unique(keys, return_inverse=True)
    n_loans = np.bincount(ids[known], minlength=ids.max() + 1)
    n_defaults = np.bincount(ids[known], weights=labels[known], minlength=ids.max() + 1)
    rates: npt.NDArray[np.float64] = (n_defaults[ids] + _PRIOR_LOANS * prior) / (n_loans[ids] + _PRIOR_LOANS)
    return rates
