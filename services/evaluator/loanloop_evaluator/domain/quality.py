"""When so many of a day's loans are rejected that somebody should look at who sends them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

NAMED_REASONS = 3


@dataclass(frozen=True, slots=True)
class QualityRule:
    """A share of 1 or more complains of nothing."""

    max_rejected_share: float
    min_loans: int


@dataclass(frozen=True, slots=True)
class ArrivedLoans:
    """Of one day of arrival (UTC): loans stored, and rejected by reason (with its field, if it has one)."""

    day: date
    n_stored: int
    rejected: Mapping[str, int]

    @property
    def n_rejected(self) -> int:
        return sum(self.rejected.values())

    @property
    def n(self) -> int:
        return self.n_stored + self.n_rejected


def complaint_about(arrived: ArrivedLoans, rule: QualityRule) -> str | None:
    """In words, or None: the day is fine, or too few loans have come to tell."""
    if arrived.n < max(rule.min_loans, 1) or arrived.n_rejected <= rule.max_rejected_share * arrived.n:
        return None
    most_first = sorted(arrived.rejected.items(), key=lambda item: (-item[1], item[0]))
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in most_first[:NAMED_REASONS])
    return (
        f"{arrived.n_rejected:,} of the {arrived.n:,} loans of {arrived.day} were rejected "
        f"({arrived.n_rejected / arrived.n:.1%}, more than {rule.max_rejected_share:.1%}): {reasons}; "
        "`loanloop dlq list` shows them"
    )
