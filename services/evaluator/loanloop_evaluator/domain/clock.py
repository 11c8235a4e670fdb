"""Event time: when a day closes. `as_of` is the event-time clock that docs/architecture.md defines."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

DAYS_UNTIL_CLOSED = 7


def last_closed_day(as_of: datetime | None) -> date | None:
    """The newest day that `as_of` is seven days past; None while nothing is known."""
    return None if as_of is None else as_of.astimezone(UTC).date() - timedelta(days=DAYS_UNTIL_CLOSED)


def start_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def days_between(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def spans_of(days: Iterable[date]) -> list[tuple[date, date]]:
    """The days as unbroken spans, first and last day included, in order."""
    spans: list[tuple[date, date]] = []
    for day in sorted(days):
        if spans and day - spans[-1][1] <= timedelta(days=1):
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans
