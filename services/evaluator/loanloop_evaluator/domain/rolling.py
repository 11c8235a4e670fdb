"""The rolling evaluation: a version's own decisions, by the day (event time) on which their outcome counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loanloop_evaluator.domain.interval import metric_bounds
from loanloop_evaluator.domain.metrics import figures_of, metric_of, roc_auc_of
from loanloop_evaluator.domain.scored import Confusion, Scored


@dataclass(frozen=True, slots=True)
class RollingRule:
    metric: str
    window_days: int
    min_outcomes: int
    confidence: float
    threshold: float | None = None  # below which a breach opens; kept with each row for who looks at it later


@dataclass(frozen=True, slots=True)
class DecidedOutcomes:
    """Decisions of one version with their outcomes, sorted by day (proleptic ordinal)."""

    day: NDArray[np.int64]
    scored: Scored

    def between(self, first: date, last: date) -> Scored:
        """Both days included."""
        begin, end = np.searchsorted(self.day, [first.toordinal(), last.toordinal() + 1])
        return self.scored.part(slice(int(begin), int(end)))


@dataclass(frozen=True, slots=True)
class WindowValue:
    """The pooled window that ends on `day`. `value` and `upper` are None: too few outcomes, unknown."""

    day: date
    n_loans: int
    value: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class DailyRow:
    """One day's counts and figures; `window` is the pooled window that ends on it."""

    version: str
    day: date
    counts: Confusion
    metrics: dict[str, Any]
    window: WindowValue
    window_from: date
    lower: float | None


def decided_outcomes(rows: Sequence[tuple[date, float, bool, bool]]) -> DecidedOutcomes:
    """From (day, probability, declined, defaulted), in any order."""
    day = np.array([row[0].toordinal() for row in rows], dtype=np.int64)
    order = np.argsort(day, kind="stable")
    scored = Scored(
        probability=np.array([row[1] for row in rows], dtype=np.float64),
        declined=np.array([row[2] for row in rows], dtype=np.bool_),
        defaulted=np.array([row[3] for row in rows], dtype=np.bool_),
    )
    return DecidedOutcomes(day[order], scored.part(order))


def daily_rows(version: str, outcomes: DecidedOutcomes, days: Sequence[date], rule: RollingRule) -> list[DailyRow]:
    """A row for each of `days`; `outcomes` must reach back a whole window from the first of them."""
    of_day: dict[date, float | None] = {}
    return [_daily_row(version, outcomes, day, rule, of_day) for day in days]


def _daily_row(
    version: str, outcomes: DecidedOutcomes, day: date, rule: RollingRule, of_day: dict[date, float | None]
) -> DailyRow:
    window_from = day - timedelta(days=rule.window_days - 1)
    pooled, own = outcomes.between(window_from, day), outcomes.between(day, day)
    value = metric_of(pooled, rule.metric) if len(pooled) >= rule.min_outcomes else None
    bounds = metric_bounds(pooled, rule.metric, rule.confidence) if value is not None else None
    counts = pooled.confusion
    metrics = figures_of(own) | {
        "metric": rule.metric,
        "threshold": rule.threshold,
        "window": {"days": rule.window_days, "n_loans": counts.n, "tp": counts.tp, "fp": counts.fp}
        | {"tn": counts.tn, "fn": counts.fn, "f1": counts.f1, "roc_auc": roc_auc_of(pooled)},
        "mean_of_days": _mean_of_days(outcomes, window_from, rule, of_day),
        "state": "unknown" if value is None else "known",
    }
    return DailyRow(
        version=version,
        day=day,
        counts=own.confusion,
        metrics=metrics,
        window=WindowValue(day, counts.n, value, bounds.upper if bounds else None),
        window_from=window_from,
        lower=bounds.lower if bounds else None,
    )


def _mean_of_days(
    outcomes: DecidedOutcomes, first: date, rule: RollingRule, of_day: dict[date, float | None]
) -> float | None:
    """Stored for comparison, decides nothing: a day of three loans weighs as much as one of ninety."""
    window = [first + timedelta(days=n) for n in range(rule.window_days)]
    for day in window:
        if day not in of_day:
            of_day[day] = metric_of(outcomes.between(day, day), rule.metric)
    known = [value for day in window if (value := of_day[day]) is not None]
    return float(np.mean(known)) if known else None
