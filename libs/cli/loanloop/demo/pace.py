"""How fast the replay goes: a pure decision about what the loop is doing, so that nothing outruns the services."""

from dataclasses import dataclass

from loanloop_evaluator.domain.clock import last_closed_day

from loanloop.observe.snapshot import Snapshot

# A loan's outcome follows its application by 30 days of event time; a decision that waits as long would come too late.
MAX_WAITING_LOANS = 300
MAX_WAITING_OUTCOMES = 600
# Further ahead the model would be judged on days that are long past when the replay hears of it.
EASY_DAYS_UNJUDGED = 10
MAX_DAYS_UNJUDGED = 25


@dataclass(frozen=True)
class Pace:
    """At most `events_per_s`, and at most `days_per_s` of event time; `why` is for the screen."""

    events_per_s: float
    days_per_s: float
    why: str = ""


DAYS_PER_S = 32.0
FULL = Pace(4000.0, DAYS_PER_S)
EASY = Pace(4000.0, DAYS_PER_S / 2)
# A day that breaches is judged some looks after it was replayed; what streams in meanwhile has the old version still.
CLOSE = Pace(4000.0, 6.0, "the metric is near its threshold: event time goes slower, so that a breach is met early")
# Counted in events, not in days: otherwise nothing would be sent over a weekend.
TRICKLE = Pace(4.0, DAYS_PER_S, "a challenger is trained and judged: event time is slowed down, stream and REST go on")
# The loans behind the last month must last until the challenger serves, however slow the machine is.
CRAWL = Pace(1.5, DAYS_PER_S, TRICKLE.why)
# Behind the last month only the new version's judgement is awaited: at full speed the replay would outrun it by months.
OVERTIME = Pace(4000.0, 4.0)
HOLD = Pace(4.0, DAYS_PER_S, "waiting for the services to catch up")


def pace_of(snapshot: Snapshot, *, overtime: bool = False) -> Pace:
    """Never zero: stream and REST go on whatever happens. `overtime`: the last month of the story is over."""
    if challenger_is_under_way(snapshot):
        return CRAWL if overtime else TRICKLE
    if services_are_behind(snapshot):
        return HOLD
    if overtime:
        return OVERTIME
    if breach_may_come(snapshot):
        return CLOSE
    return EASY if days_unjudged(snapshot) > EASY_DAYS_UNJUDGED else FULL


def challenger_is_under_way(snapshot: Snapshot) -> bool:
    """From the breach, or the enough labels, that start a training to the verdict on what it made."""
    training = snapshot.training
    if training is not None and training.is_open:
        return True
    if any(version.gate is None for version in snapshot.versions):
        return True
    breach = snapshot.open_breach
    return breach is not None and (training is None or training.created_at < breach.opened_at)


def breach_may_come(snapshot: Snapshot) -> bool:
    """The newest known day does not rule out that the metric is below its threshold."""
    lower = next((day.lower for day in reversed(snapshot.days) if day.lower is not None), None)
    return lower is not None and lower < snapshot.rule.threshold


def giving_up_is_due(snapshot: Snapshot, attempts: int) -> bool:
    """The last attempt at the open breach was rejected, and the trainer has not raised its alert yet."""
    training, breach = snapshot.training, snapshot.open_breach
    if breach is None or training is None or training.trigger != "breach" or training.attempt < attempts:
        return False
    rejected = any(v.version == training.version and v.gate and not v.gate.passed for v in snapshot.versions)
    alerted = any(a.kind == "retraining_given_up" and a.raised_at > training.created_at for a in snapshot.alerts)
    return rejected and not alerted


def services_are_behind(snapshot: Snapshot) -> bool:
    waiting = max(snapshot.lag_of("loan.received", group) for group in ("ingest", "predictor"))
    if waiting > MAX_WAITING_LOANS or snapshot.lag_of("loan.outcome", "ingest") > MAX_WAITING_OUTCOMES:
        return True
    return days_unjudged(snapshot) > MAX_DAYS_UNJUDGED


def days_unjudged(snapshot: Snapshot) -> int:
    """Closed days that the evaluator has not recorded yet; 0 before its first."""
    closed = last_closed_day(snapshot.as_of)
    if not snapshot.days or closed is None:
        return 0
    return max((closed - snapshot.days[-1].day).days, 0)
