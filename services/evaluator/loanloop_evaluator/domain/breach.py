"""When the rolling metric of the live version opens a breach, and when it has recovered.

A day counts only as it closes: what a late label changes in an older row opens nothing by itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from loanloop_evaluator.domain.metrics import METRIC_NAMES
from loanloop_evaluator.domain.rolling import RollingRule, WindowValue


@dataclass(frozen=True, slots=True)
class BreachRule:
    below: float
    days: int
    relapse_days: int = 28


@dataclass(frozen=True, slots=True)
class Turn:
    """A breach opens or recovers with the closing of this day."""

    kind: Literal["breach", "recovered"]
    at: WindowValue


def turns_of(
    windows: Iterable[WindowValue], closing: Sequence[date], *, is_open: bool, not_before: date, rule: BreachRule
) -> list[Turn]:
    """What happens as the days of `closing` close one after another.

    A breach opens when the upper bound was below the threshold on `rule.days` days in a row, and recovers when the
    value was at or above it on as many; an unknown day, and a day before `not_before`, breaks a row.
    """
    by_day = {window.day: window for window in windows if window.day >= not_before}
    turns: list[Turn] = []
    for day in closing:
        row = _row_ending_on(by_day, day, rule.days)
        if row is None:
            continue
        if not is_open and all(w.upper is not None and w.upper < rule.below for w in row):
            is_open = True
            turns.append(Turn("breach", row[-1]))
        elif is_open and all(w.value is not None and w.value >= rule.below for w in row):
            is_open = False
            turns.append(Turn("recovered", row[-1]))
    return turns


def _row_ending_on(by_day: Mapping[date, WindowValue], day: date, n_days: int) -> list[WindowValue] | None:
    row = [by_day.get(day - timedelta(days=back)) for back in reversed(range(n_days))]
    known = [window for window in row if window is not None]
    return known if len(known) == n_days else None


def reason_of(turn: Turn, rolling: RollingRule, rule: BreachRule) -> str:
    """In words, for the event and the log."""
    figure = f"{rolling.window_days}-day {METRIC_NAMES[rolling.metric]} {turn.at.value:.3f} on {turn.at.n_loans} loans"
    row = f"on {rule.days} days in a row, to {turn.at.day}"
    if turn.kind == "recovered":
        return f"{figure}, at or above {rule.below:g} {row}"
    return f"{figure}, at most {turn.at.upper:.3f} with {rolling.confidence:.0%} confidence: below {rule.below:g} {row}"
