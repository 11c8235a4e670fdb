"""Facts in few words, for every view: status, watch, the demo's end."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from loanloop.observe.loan_counts import LoanCounts
from loanloop.observe.snapshot import Deployment, Gate, Rule, Snapshot, Training


def figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def day_of(when: datetime | None) -> str:
    return "–" if when is None else f"{when.astimezone(UTC):%Y-%m-%d}"


def month_of(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m}"


def clock(when: datetime | None) -> str:
    return "–" if when is None else f"{when.astimezone(UTC):%H:%M:%S}"


def moment(when: datetime, now: datetime) -> str:
    """The time of day of what was today, else the day too."""
    return clock(when) if day_of(when) == day_of(now) else f"{when.astimezone(UTC):%Y-%m-%d %H:%M}"


def named_with_login(name: str, login: str | None) -> str:
    """Who did it: the name that was given, which may be any, and who was logged in to the database."""
    return name if login in (None, name) else f"{name} (logged in as {login})"


def lived_words(lives: Sequence[Deployment], now: datetime) -> str:
    """From when on a version was live, and from which loans on, the last time."""
    if not lives:
        return ""
    since = lives[-1].live_from
    today = day_of(since) == day_of(now)
    return f"{f'{since.astimezone(UTC):%H:%M}' if today else day_of(since)} ({day_of(lives[-1].live_from_event_time)})"


def duration(seconds: float) -> str:
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"


def gate_words(gate: Gate | None, rule: Rule) -> str:
    """The verdict on a version, in one line."""
    if gate is None:
        return "not judged yet"
    return f"{'passed' if gate.passed else 'rejected'} on {rule.portfolio}: {gate.reason}"


def live_words(deployment: Deployment, now: datetime) -> str:
    pinned = ", pinned" if deployment.pinned else ""
    return f"{deployment.version} ({deployment.kind}{pinned}) since {moment(deployment.live_from, now)} UTC"


def counts_remarks(loans: LoanCounts) -> Iterator[str]:
    """What else has to be known for the counts to add up."""
    if loans.is_beyond_received:
        yield "received counts this Kafka alone, not what came before a restore or a new topic"
    if loans.removed:
        yield f"removed by Kafka before they were read {loans.removed:,}"
    if loans.told_again:
        yield f"{loans.told_again:,} stored tell again of a loan; decided unless they have its outcome"


def first_labels_words(snapshot: Snapshot) -> str:
    """How far it is to the first training, and what of the labels does not count yet."""
    loans = snapshot.loans
    waiting = loans.labelled - loans.mature
    said = f"{loans.mature:,} of {snapshot.rule.first_labels:,} labelled loans"
    # Without so many outcomes no clock goes yet, and those that are newer than it wait for it.
    why = "min_outcomes" if snapshot.as_of is None else "maturity_days or min_outcomes"
    return f"{said}; {waiting:,} more do not count yet, by {why}" if waiting else said


def unjudged_words(rule: Rule) -> str:
    """Why there is no figure of any day yet."""
    old = f" and its loans are {rule.maturity_days:,} days old (maturity_days)" if rule.maturity_days else ""
    return f"No day is judged yet: a day counts once its outcomes are known{old}."


def gate_figure_words(gate: Gate | None, rule: Rule) -> str:
    """The gate's figure of the policy's metric."""
    value = None if gate is None else gate.f1 if rule.metric == "f1" else gate.roc_auc
    return f"{rule.metric_name} {figure(value)}"


def training_words(training: Training) -> str:
    """What the newest run does or did, with loss and time to go where it says so."""
    why = f"{training.trigger}, attempt {training.attempt}" if training.trigger == "breach" else training.trigger
    if training.state == "queued":
        return f"queued ({why})"
    rows = _rows(training)
    window = _window(training)
    if training.state == "running":
        return f"{progress_words(training)} · {why} · {rows}{window}"
    took = duration((training.finished_at - training.created_at).total_seconds()) if training.finished_at else "–"
    if training.state == "failed":
        return f"failed ({why}) after {took}: {training.error or 'no reason given'}"
    return f"{training.version} trained ({why}) on {rows}{window} in {took}"


def _rows(training: Training) -> str:
    if not training.n_rows:
        return ""
    unlabelled = f"and {training.n_unlabelled:,} without an outcome, " if training.n_unlabelled else ""
    return f"{training.n_rows:,} loans {unlabelled}"


def _window(training: Training) -> str:
    if training.window_from is None or training.window_to is None:
        return ""
    return f"{month_of(training.window_from)} – {month_of(training.window_to)}"


def progress_words(training: Training) -> str:
    """From the keys that the trainer writes; a phase without figures is named alone."""
    progress = training.progress
    words = [training.phase or "starting"]
    if (epoch := progress.get("epoch")) is not None and (epochs := progress.get("epochs")):
        words.append(f"epoch {epoch}/{epochs}")
    if (step := progress.get("step")) is not None and (steps := progress.get("steps")):
        words.append(f"step {step:,}/{steps:,}")
    if (loss := progress.get("loss")) is not None:
        words.append(f"loss {loss:.3f}")
    if (eta := progress.get("eta_s")) is not None:
        words.append(f"about {duration(eta)} to go")
    return " · ".join(words)


def clock_words(snapshot: Snapshot) -> list[str]:
    """How far event time has come: of the loan that was decided last, an old one it may be, and of the outcomes."""
    clocks = (("last decided loan", snapshot.stream_day), ("outcomes", snapshot.as_of))
    return [f"{what} of {day_of(day)}" for what, day in clocks if day is not None]
