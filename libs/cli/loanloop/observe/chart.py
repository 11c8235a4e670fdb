"""The rolling metric by day of event time as a bar chart of text, with the threshold and the deployments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from rich.text import Text

from loanloop.observe.snapshot import Breach, Day, Deployment, Rule
from loanloop.observe.words import unjudged_words

EIGHTHS = " ▁▂▃▄▅▆▇█"
AXIS_WIDTH = 5


@dataclass(frozen=True)
class Span:
    """Which days a column stands for: `days_per_column` from `first` on."""

    first: date
    days_per_column: int
    columns: int

    def column_of(self, day: date) -> int | None:
        column = (day - self.first).days // self.days_per_column
        return column if 0 <= column < self.columns else None


def span_of(days: Sequence[date], columns: int) -> Span:
    first, last = min(days), max(days)
    per_column = -(-((last - first).days + 1) // columns)
    return Span(first, per_column, columns)


def by_column(days: Sequence[Day], span: Span) -> list[float | None]:
    """The mean of each column's known values; None where nothing is known."""
    values: list[list[float]] = [[] for _ in range(span.columns)]
    for day in days:
        column = span.column_of(day.day)
        if column is not None and day.value is not None:
            values[column].append(day.value)
    return [sum(known) / len(known) if known else None for known in values]


def bounds_of(values: Sequence[float | None], threshold: float) -> tuple[float, float]:
    """A range that shows the threshold and nearly every value."""
    known = [value for value in values if value is not None] or [threshold]
    low, high = min(*known, threshold) - 0.04, max(*known, threshold) + 0.02
    return max(0.0, int(low * 20) / 20), min(1.0, -int(-high * 20 // 1) / 20 + 0.05)


def chart(
    rule: Rule,
    days: Sequence[Day],
    deployments: Sequence[Deployment],
    breaches: Sequence[Breach],
    *,
    width: int,
    height: int,
) -> Text:
    """`height` lines in all, the lowest two for versions and dates."""
    if not any(day.value is not None for day in days):
        return Text(unjudged_words(rule), style="dim")
    span = span_of([day.day for day in days], max(width - AXIS_WIDTH - 1, 10))
    drawn = _bars(by_column(days, span), rule.threshold, rows=max(height - 2, 2))
    drawn.append_text(_events_line(span, deployments, breaches))
    drawn.append("\n")
    drawn.append_text(_dates_line(span))
    return drawn


def _bars(values: Sequence[float | None], threshold: float, *, rows: int) -> Text:
    low, high = bounds_of(values, threshold)
    threshold_row = min(int((threshold - low) / (high - low) * rows), rows - 1)
    drawn = Text(no_wrap=True)
    for row in reversed(range(rows)):
        drawn.append(_label(row, rows, low, high, threshold if row == threshold_row else None))
        for value in values:
            drawn.append(*_cell(value, row, rows, (low, high), threshold, at_threshold=row == threshold_row))
        drawn.append("\n")
    return drawn


def _label(row: int, rows: int, low: float, high: float, threshold: float | None) -> str:
    if threshold is not None:
        return f"{threshold:.2f} ┤"[: AXIS_WIDTH + 1]
    if row in {0, rows - 1}:
        return f"{low if row == 0 else high:.2f} │"[: AXIS_WIDTH + 1]
    return " " * AXIS_WIDTH + "│"


def _cell(
    value: float | None, row: int, rows: int, bounds: tuple[float, float], threshold: float, *, at_threshold: bool
) -> tuple[str, str]:
    low, high = bounds
    filled = 0 if value is None else round(((value - low) / (high - low) * rows - row) * 8)
    if filled <= 0 or value is None:
        return ("╌", "yellow") if at_threshold else (" ", "")
    return EIGHTHS[min(filled, 8)], "red" if value < threshold else "green"


def _events_line(span: Span, deployments: Sequence[Deployment], breaches: Sequence[Breach]) -> Text:
    """▲ a version goes live, ! a breach opens."""
    marks: dict[int, tuple[str, str]] = {}
    for breach in breaches:
        if (column := span.column_of(breach.opened_on)) is not None:
            marks[column] = ("!", "bold red")
    for deployment in deployments:
        when = deployment.live_from_event_time
        column = None if when is None else span.column_of(max(when.date(), span.first))
        if column is not None:
            marks[column] = (f"▲{deployment.version}", "bold cyan")
    return _placed(marks, span.columns)


def _dates_line(span: Span) -> Text:
    marks = {}
    for column in range(0, span.columns - 6, max(span.columns // 6, 9)):
        day = span.first + timedelta(days=column * span.days_per_column)
        marks[column] = (f"{day:%b %Y}", "dim")
    return _placed(marks, span.columns)


def _placed(marks: dict[int, tuple[str, str]], columns: int) -> Text:
    line = Text(" " * (AXIS_WIDTH + 1), no_wrap=True)
    at = 0
    for column, (mark, style) in sorted(marks.items()):
        start = max(min(column, columns - len(mark)), at)
        line.append(" " * (start - at))
        line.append(mark, style=style)
        at = start + len(mark)
    return line
