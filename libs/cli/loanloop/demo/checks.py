"""Whether everything is accounted for: what the database and Kafka hold against what the demo sent. Pure."""

from dataclasses import dataclass
from datetime import datetime

from loanloop.demo.plan import Plan
from loanloop.demo.rest import RestFigures
from loanloop.observe.snapshot import Day, Deployment, Snapshot

MIN_REST_REQUESTS = 1000
DAYS_OF_RECOVERY = 14


@dataclass(frozen=True)
class Check:
    what: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Sent:
    history: int
    streamed: int
    asked: int
    outcomes: int

    @property
    def loans(self) -> int:
        return self.history + self.streamed + self.asked


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Counted in the database, of the first events of the demo's own loans, beside the Snapshot's counts of all.

    `others`: messages on loan.received beside those: of others, not valid, or sent again.
    """

    stored: int
    history: int
    scored: int
    decided: int
    labelled: int
    waiting_outcomes: int
    loans_without_decision: int
    decisions_without_loan: int
    history_decided: int
    loans_decided_twice: int
    loans_without_outcome: int
    others: int
    scored_published: int


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Both versions on the `n_loans` that the live one decided and whose outcome is known."""

    frozen: str
    live: str
    n_loans: int
    first: datetime
    last: datetime
    frozen_f1: float
    live_f1: float
    frozen_roc_auc: float
    live_roc_auc: float


def checks_of(
    plan: Plan, snapshot: Snapshot, sent: Sent, rest: RestFigures, ledger: Ledger, both: SideBySide | None
) -> list[Check]:
    checks = [*_of_loans(snapshot, sent, ledger), *_of_rest(rest), *_of_models(snapshot)]
    return [*checks, *_of_breach(plan, snapshot, rest, both)] if plan.shows_breach else checks


def _of_loans(snapshot: Snapshot, sent: Sent, own: Ledger) -> list[Check]:
    once = not (own.loans_without_decision or own.decisions_without_loan or own.loans_decided_twice)
    return [
        *_of_messages(snapshot, sent, own),
        Check(
            f"decided {own.decided:,} = stored {own.stored:,} - history {own.history:,}, each exactly once",
            once and own.history_decided == 0 and own.decided == own.scored == own.stored - own.history,
        ),
        Check(f"decisions published {own.scored_published:,}, at least once each", own.scored_published >= own.decided),
        Check(
            f"outcomes sent {sent.outcomes:,}, each joined to its loan",
            own.loans_without_outcome == 0
            and own.waiting_outcomes == 0
            and own.labelled == sent.history + sent.outcomes,
        ),
    ]


def _of_messages(snapshot: Snapshot, sent: Sent, own: Ledger) -> list[Check]:
    """Whoever else sends loans meanwhile may be in the middle of it: then the demo's own alone can be counted."""
    if own.others:
        beside = f"(and {own.others:,} messages of others, or repeated)"
        return [Check(f"loans sent {sent.loans:,} = stored {own.stored:,} {beside}", sent.loans == own.stored)]
    n = snapshot.loans
    received = n.received or 0
    return [
        Check(f"loans received {received:,} = sent {sent.loans:,}", received == sent.loans),
        Check(
            f"received {received:,} = stored {n.stored:,} + rejected {n.rejected:,} + duplicates {n.duplicates:,}",
            received == n.stored + n.rejected + n.duplicates,
        ),
    ]


def _of_rest(rest: RestFigures) -> list[Check]:
    return [
        Check(f"REST requests sent {rest.sent:,}, at least {MIN_REST_REQUESTS:,}", rest.sent >= MIN_REST_REQUESTS),
        Check(f"REST requests failed {rest.failed}", rest.failed == 0),
    ]


def _of_models(snapshot: Snapshot) -> list[Check]:
    live = snapshot.live
    first = snapshot.versions[0] if snapshot.versions else None
    passed = first is not None and first.gate is not None and first.gate.passed
    return [
        Check("the first version passed its gate out of time and was deployed by the evaluator", passed and bool(live)),
        Check(f"the predictor serves the live version, {live.version if live else 'none'}", live_is_served(snapshot)),
    ]


def live_is_served(snapshot: Snapshot) -> bool:
    """Each predictor that runs has swapped to the live version."""
    live = snapshot.live
    predictors = [i for i in snapshot.instances if i.service == "predictor" and i.is_alive]
    return live is not None and bool(predictors) and all(i.version == live.version for i in predictors)


def _of_breach(plan: Plan, snapshot: Snapshot, rest: RestFigures, both: SideBySide | None) -> list[Check]:
    breach = snapshot.breaches[0] if snapshot.breaches else None
    swap = swap_after_breach(snapshot)
    opened = f"a breach of {breach.version} opened on {breach.opened_on}" if breach else "a breach opened"
    deployed = f"{swap.version} was trained, judged and deployed for it" if swap else "a challenger was deployed for it"
    served = swap is not None and rest.by_version[swap.version] > 0 and rest.by_version[swap.previous or ""] > 0
    return [
        Check(opened, breach is not None),
        Check(deployed, swap is not None),
        Check("REST was answered by the version before and by the one after the swap", served),
        _of_recovery(plan, snapshot, swap, both),
    ]


def _of_recovery(plan: Plan, snapshot: Snapshot, swap: Deployment | None, both: SideBySide | None) -> Check:
    """Above the threshold since the swap, and ahead on the same loans: months differ more than versions.

    A breach of the new version is no part of it: when it comes depends on when it began, and it has its own answer.
    """
    rule = snapshot.rule
    _, after = mean_before_and_after(snapshot, swap)
    what = f"{rule.metric_name} recovered: {_figure(after)} since the swap (threshold {rule.threshold:g})"
    if swap is None or both is None or after is None or len(known_days(snapshot, swap)) < DAYS_OF_RECOVERY:
        return Check(f"{what}; too few of its loans are known to compare", holds=False)
    breaches = [str(breach.opened_on) for breach in snapshot.breaches if breach.version == swap.version]
    later = f"; a breach of its own on {', '.join(breaches)}" if breaches else ""
    same = f"on the same {both.n_loans:,} loans F1 {both.live_f1:.3f}, of {both.frozen} {both.frozen_f1:.3f}"
    holds = after >= rule.threshold and both.live_f1 > both.frozen_f1
    return Check(f"{what}; {same}{later}{'' if holds else _if_late(plan, swap)}", holds)


def _if_late(plan: Plan, swap: Deployment) -> str:
    """What a version answers depends on when it comes, and that on how fast this machine trains."""
    at = swap.live_from_event_time
    if at is None or at < plan.until:
        return ""
    return (
        f"; the swap came on {at:%Y-%m-%d}, after the last month ({plan.last_month:%Y-%m}): training was slow here, "
        "run the demo again while nothing else keeps the cores busy"
    )


def story_is_over(plan: Plan, snapshot: Snapshot) -> bool:
    """Nothing is left to be seen: the version that replaced the breached one has been judged on two weeks."""
    if not plan.shows_breach:
        return True
    swap = swap_after_breach(snapshot)
    return len(known_days(snapshot, swap)) >= DAYS_OF_RECOVERY


def swap_after_breach(snapshot: Snapshot) -> Deployment | None:
    """The first automatic deployment of a version that was trained because of a breach."""
    answers = {version.version for version in snapshot.versions if version.trigger == "breach"}
    return next((d for d in snapshot.deployments if d.kind == "deploy" and d.version in answers), None)


def mean_before_and_after(snapshot: Snapshot, swap: Deployment | None) -> tuple[float | None, float | None]:
    """The metric's mean over the last 30 days of the version before, and over the first 60 known days after it."""
    if swap is None:
        return None, None
    before = [day for day in snapshot.days if day.version == swap.previous][-30:]
    return _mean(before), _mean(known_days(snapshot, swap)[:60])


def known_days(snapshot: Snapshot, swap: Deployment | None) -> list[Day]:
    """Of the version that was swapped in, those on which its metric is known."""
    return [day for day in snapshot.days if swap and day.version == swap.version and day.value is not None]


def _mean(days: list[Day]) -> float | None:
    known = [day.value for day in days if day.value is not None]
    return sum(known) / len(known) if known else None


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
