"""The metric by day of event time as SVG. Places are percentages, so that text keeps its size on any screen."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import dropwhile

from loanloop.observe.chart import bounds_of
from loanloop.observe.snapshot import Day, Snapshot
from loanloop.observe.words import unjudged_words
from loanloop.page.markup import Markup, joined, tag

HEIGHT = 240  # of which the lowest LABELS are the dates' and the highest the versions'
LABELS = 22
_NEAR = 9.0  # percent of the width: a label closer to the one before it would lie on it


class Frame:
    """Where days and values lie: x in percent of the width, y in pixels."""

    def __init__(self, days: Sequence[Day], threshold: float) -> None:
        self.first, self.last = days[0].day, days[-1].day
        self.low, self.high = bounds_of([day.value for day in days], threshold)
        self._n_days = max((self.last - self.first).days, 1)

    def x(self, day: date) -> float:
        return round(min(max((day - self.first).days / self._n_days, 0), 1) * 100, 2)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - LABELS - min(max(share, 0), 1) * (HEIGHT - 2 * LABELS), 1)


def plot(snapshot: Snapshot) -> Markup:
    """From the first judged day on; empty as long as there is none."""
    judged = list(dropwhile(lambda day: day.value is None, snapshot.days))
    if not judged:
        return Markup()
    frame = Frame(judged, snapshot.rule.threshold)
    drawn = tag(
        "svg",
        *_breaches(snapshot, frame),
        _threshold(snapshot, frame),
        _line(judged, frame),
        *_deployments(snapshot, frame),
        *_dates(frame),
        width="100%",
        height=HEIGHT,
        aria_hidden="true",
        class_="plot",
    )
    return tag("div", _axis(snapshot, frame), drawn, class_="chart", role="img", aria_label=in_words(snapshot))


def in_words(snapshot: Snapshot) -> str:
    """What the chart shows, for those who do not see it."""
    rule = snapshot.rule
    known = [day for day in snapshot.days if day.value is not None]
    lowest = min(known, key=lambda day: day.value or 0.0)
    said = [
        f"{rule.metric_name} of {rule.window_days} days, from {known[0].day} to {known[-1].day}",
        f"newest {known[-1].value:.3f}, lowest {lowest.value:.3f} on {lowest.day}, threshold {rule.threshold:g}",
        *(
            f"{live.version} live from {live.live_from_event_time:%Y-%m-%d}"
            for live in snapshot.deployments
            if live.live_from_event_time
        ),
        *(f"breach of {breach.version} on {breach.opened_on}" for breach in snapshot.breaches),
    ]
    return "; ".join(said)


def _axis(snapshot: Snapshot, frame: Frame) -> Markup:
    threshold = snapshot.rule.threshold
    labels = [(threshold, "threshold")]
    labels += [(value, "") for value in (frame.low, frame.high) if abs(frame.y(value) - frame.y(threshold)) > 14]
    return tag(
        "svg",
        *(_label(value, frame, kind or None) for value, kind in labels),
        width=44,
        height=HEIGHT,
        aria_hidden="true",
    )  # fmt: skip


def _label(value: float, frame: Frame, kind: str | None) -> Markup:
    return tag("text", f"{value:.2f}", x=38, y=frame.y(value) + 4, text_anchor="end", class_=kind)


def _threshold(snapshot: Snapshot, frame: Frame) -> Markup:
    y = frame.y(snapshot.rule.threshold)
    return tag("line", x1=0, x2="100%", y1=y, y2=y, class_="threshold")


def _line(days: Sequence[Day], frame: Frame) -> Markup:
    """In a picture of its own that is stretched; lines keep their width."""
    band = "".join(_strip(run, frame) for run in _runs(days))
    line = "".join(
        "M" + "L".join(f"{frame.x(day.day):g} {frame.y(day.value or 0):g}" for day in run)
        + ("h.01" if len(run) == 1 else "")
        for run in _runs(days)
    )  # fmt: skip
    return tag(
        "svg",
        tag("path", d=band, class_="band"),
        tag("path", d=line, class_="line"),
        width="100%",
        height=HEIGHT,
        viewBox=f"0 0 100 {HEIGHT}",
        preserveAspectRatio="none",
    )


def _strip(run: Sequence[Day], frame: Frame) -> str:
    """Between the bounds of the values."""
    above = [f"{frame.x(day.day):g} {frame.y(day.upper if day.upper is not None else day.value or 0):g}" for day in run]
    below = [f"{frame.x(day.day):g} {frame.y(day.lower if day.lower is not None else day.value or 0):g}" for day in run]
    return "M" + "L".join([*above, *reversed(below)]) + "Z"


def _runs(days: Sequence[Day]) -> Iterator[list[Day]]:
    """Days with values, without a gap."""
    run: list[Day] = []
    for day in days:
        if run and (day.value is None or day.day - run[-1].day > timedelta(days=1)):
            yield run
            run = []
        if day.value is not None:
            run.append(day)
    if run:
        yield run


def _breaches(snapshot: Snapshot, frame: Frame) -> Iterator[Markup]:
    for breach in snapshot.breaches:
        begin, end = frame.x(breach.opened_on), frame.x(breach.closed_on or frame.last)
        width = f"{max(end - begin, 0.4):.2f}%"
        yield tag("rect", x=f"{begin}%", width=width, y=LABELS, height=HEIGHT - 2 * LABELS, class_="breach")


def _deployments(snapshot: Snapshot, frame: Frame) -> Iterator[Markup]:
    labelled_at = -_NEAR
    for day, version in _seen(snapshot, frame):
        x = frame.x(day)
        if day >= frame.first:
            yield tag("line", x1=f"{x}%", x2=f"{x}%", y1=LABELS - 4, y2=HEIGHT - LABELS, class_="deployment")
        if x - labelled_at >= _NEAR:
            anchor = "end" if x > 93 else "start" if x < 7 else "middle"
            yield tag("text", version, x=f"{x}%", y=LABELS - 8, text_anchor=anchor, class_="version")
            labelled_at = x


def _seen(snapshot: Snapshot, frame: Frame) -> list[tuple[date, str]]:
    """What went live within the frame, and before it what was live when it begins."""
    at = [(one.live_from_event_time.date(), one.version) for one in snapshot.deployments if one.live_from_event_time]
    return [one for one in at if one[0] < frame.first][-1:] + [one for one in at if one[0] >= frame.first]


def _dates(frame: Frame) -> Iterator[Markup]:
    """The ends and the middle: as many as a phone has room for."""
    y = HEIGHT - LABELS
    yield tag("line", x1=0, x2="100%", y1=y, y2=y, class_="axis")
    middle = frame.first + (frame.last - frame.first) / 2
    is_short = (frame.last - frame.first).days < 100
    for day, x, anchor in ((frame.first, 0, "start"), (middle, 50, "middle"), (frame.last, 100, "end")):
        words = f"{day.day} {day:%b %Y}" if is_short else f"{day:%b %Y}"
        yield tag("text", words, x=f"{x}%", y=HEIGHT - 5, text_anchor=anchor)


def legend(snapshot: Snapshot) -> Markup:
    named = [("line", snapshot.rule.metric_name), ("band", "its bounds"), ("threshold", "threshold")]
    named += [("deployment", "a version goes live"), ("breach", "breach")]
    return tag(
        "ul",
        *(tag("li", tag("span", class_=f"key {kind}"), name) for kind, name in named),
        class_="legend",
        aria_hidden="true",
    )


def chart_section(snapshot: Snapshot) -> Markup:
    drawn = plot(snapshot)
    if not drawn:
        return tag("p", unjudged_words(snapshot.rule), class_="dim")
    return joined(drawn, legend(snapshot))
