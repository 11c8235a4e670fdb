"""The gate: a challenger against the champion, on the same loans, which neither has seen."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loanloop_evaluator.domain.interval import Bounds, bootstrap_bounds
from loanloop_evaluator.domain.metrics import METRIC_NAMES, figures_of, metric_of
from loanloop_evaluator.domain.scored import Confusion, Scored


@dataclass(frozen=True, slots=True)
class GateRule:
    metric: str
    at_least: float
    min_loans: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One model on the gate's window."""

    version: str
    counts: Confusion
    metrics: dict[str, Any]
    value: float | None
    bounds: Bounds | None


@dataclass(frozen=True, slots=True)
class Verdict:
    passed: bool
    reason: str


def window_begins_after(challenger_train_to: datetime, champion_train_to: datetime | None) -> datetime:
    """Loans that occurred later than this are unseen by both."""
    return challenger_train_to if champion_train_to is None else max(challenger_train_to, champion_train_to)


def judged(version: str, scored: Scored, rule: GateRule, seed: int) -> Judged:
    return Judged(
        version=version,
        counts=scored.confusion,
        metrics=figures_of(scored) | {"metric": rule.metric},
        value=metric_of(scored, rule.metric),
        bounds=bootstrap_bounds(scored, rule.metric, rule.confidence, seed),
    )


def verdict_on(challenger: Judged, champion: Judged | None, rule: GateRule) -> Verdict:
    """Passes at or above the threshold and not worse than the champion; by ROC-AUC only if better.

    F1 moves with the share of defaults, so that the threshold alone asks much; ROC-AUC doesn't, and a challenger
    that ranks the same loans no better is not worth a deployment.
    """
    name = METRIC_NAMES[rule.metric]
    if challenger.value is None:
        return Verdict(False, f"{name} is undefined: the window's {challenger.counts.n} loans are all of one class")
    shown = f"{name} {challenger.value:.3f} on {challenger.counts.n} loans"
    against = "no champion to compare with"
    if champion is not None and champion.value is not None:
        against = f"{champion.version} has {champion.value:.3f} on the same loans"
    if challenger.value < rule.at_least:
        return Verdict(False, f"{shown}, below {rule.at_least:g}; {against}")
    if champion is None or champion.value is None:
        return Verdict(True, f"{shown}, at least {rule.at_least:g}; {against}")
    if challenger.value < champion.value or (rule.metric == "roc_auc" and challenger.value == champion.value):
        return Verdict(False, f"{shown}, not {'better' if rule.metric == 'roc_auc' else 'as good'}: {against}")
    return Verdict(True, f"{shown}, at least {rule.at_least:g}; {against}")
