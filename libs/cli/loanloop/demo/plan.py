"""What a demo replays: which loans are history, which stream in, until when. Pure."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loanloop_common.errors import LoanloopError

MONTH = re.compile(r"(\d{4})-(\d{2})")


class DemoImpossible(LoanloopError):
    """The demo cannot be played as asked."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Loans from `history_from` up to `stream_from` are backfilled with their outcomes, the later ones stream in."""

    portfolio: str
    history_from: datetime
    stream_from: datetime
    until: datetime
    shows_breach: bool
    at_most_until: datetime  # the replay goes on after `until` while breach, swap and recovery are not over

    @property
    def last_month(self) -> datetime:
        return self.until - timedelta(days=1)


_HISTORY = {"sba": (2002, 2005), "sba_application": (2001, 2004)}
# From this month on the replay has seen the fall of the first model.
_BREACH_BY = {"sba": datetime(2008, 10, 1, tzinfo=UTC), "sba_application": datetime(2006, 10, 1, tzinfo=UTC)}
_LONGER = timedelta(days=150)
_LAST = datetime(2010, 1, 1, tzinfo=UTC)


def plan_of(portfolio: str, until: str) -> Plan:
    """`until` is a month such as 2008-10, replayed to its end; a portfolio file of one's own is played like `sba`.

    Raises DemoImpossible.
    """
    story = portfolio if portfolio in _HISTORY else "sba"
    first, stream = (datetime(year, 1, 1, tzinfo=UTC) for year in _HISTORY[story])
    end = _end_of_month(until)
    if not stream < end <= _LAST:
        raise DemoImpossible(
            f"--until {until} must be a month from {stream:%Y-%m} to 2009-12: those are the loans there are"
        )
    shows_breach = end > _BREACH_BY[story]
    return Plan(
        at_most_until=min(end + _LONGER, _LAST) if shows_breach else end,
        portfolio=portfolio,
        history_from=first,
        stream_from=stream,
        until=end,
        shows_breach=shows_breach,
    )


def _end_of_month(month: str) -> datetime:
    found = MONTH.fullmatch(month)
    if found is None or not 1 <= int(found[2]) <= 12:
        raise DemoImpossible(f"--until {month} is no month such as 2008-10")
    start = datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC)
    return (start + timedelta(days=32)).replace(day=1)
