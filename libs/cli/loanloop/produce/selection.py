"""Which rows of a file `loanloop produce` sends, as which events. Imports nothing slow: the command line shows it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Outcomes(StrEnum):
    NONE = "none"
    DUE = "due"
    AFTER = "after"
    ONLY = "only"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows of a file, as which events. Outcomes not known by `now` are left out."""

    now: datetime
    history: bool = False
    outcomes: Outcomes = Outcomes.DUE
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None

    @property
    def wants_outcomes(self) -> bool:
        return self.history or self.outcomes is not Outcomes.NONE
