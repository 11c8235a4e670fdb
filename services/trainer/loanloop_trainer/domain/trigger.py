"""When to train: a pure decision about what the database says, the policy and the time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from loanloop_common.portfolio import Policy

Trigger = Literal["labels", "breach", "manual"]

MAX_CRASHES = 3  # of one run, whoever works on it; then it has failed


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """The run that was made last, whatever became of it."""

    labels_total: int
    succeeded: bool
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class OpenBreach:
    """The open breach of the live version, with what has been done about it.

    `rejected` counts the attempts that the gate turned down, none of them while a rollback pinned its version;
    `failed` the runs that ended without a model; `labels_at_last_run` is None before the first of either.
    """

    breach_id: int
    rejected: int = 0
    failed: int = 0
    labels_at_last_run: int | None = None
    given_up: bool = False


@dataclass(frozen=True, kw_only=True)
class Situation:
    """`labels` counts labelled, mature loans; `awaits_verdict` is the newest version if it has not been judged."""

    labels: int
    run_is_open: bool = False
    awaits_verdict: str | None = None
    live_version: str | None = None
    pinned: bool = False
    last_run: LastRun | None = None
    breach: OpenBreach | None = None


@dataclass(frozen=True)
class Train:
    trigger: Trigger
    breach_id: int | None = None
    attempt: int = 1


@dataclass(frozen=True)
class Wait:
    reason: str


@dataclass(frozen=True)
class GiveUp:
    breach_id: int


Decision = Train | Wait | GiveUp


def decide(situation: Situation, policy: Policy, now: datetime) -> Decision:
    """At most one training at a time, and none while the last model's verdict is out."""
    if situation.run_is_open:
        return Wait("a training is under way")
    if situation.awaits_verdict is not None:
        return Wait(f"{situation.awaits_verdict} is being judged")
    breach = situation.breach
    if breach is not None and breach.rejected >= policy.breach_attempts and not breach.given_up:
        return GiveUp(breach.breach_id)
    if (last := situation.last_run) is not None:
        ready_at = last.finished_at + timedelta(minutes=policy.cooldown_minutes)
        if now < ready_at:
            return Wait(f"cooldown until {ready_at:%Y-%m-%d %H:%M} UTC")
    for_breach = _for_breach(situation, breach, policy)
    if isinstance(for_breach, Train):
        return for_breach
    by_labels = _by_labels(situation, policy)
    return by_labels if isinstance(by_labels, Train) or for_breach is None else for_breach


def _for_breach(situation: Situation, breach: OpenBreach | None, policy: Policy) -> Train | Wait | None:
    """The first attempt at once, each further run on fresh labels; a run that failed is no attempt, but bounded."""
    if breach is None or breach.rejected >= policy.breach_attempts:
        return None
    if situation.pinned:
        return Wait(f"{situation.live_version} is pinned: its breach starts no training until it is unpinned")
    if breach.failed >= policy.breach_attempts:
        return Wait(f"{breach.failed} trainings for the breach failed: `loanloop retrain` starts another")
    if breach.labels_at_last_run is not None:
        fresh = situation.labels - breach.labels_at_last_run
        wanted = max(policy.breach_new_labels, 1) if breach.failed else policy.breach_new_labels
        if fresh < wanted:
            return Wait(f"{fresh:,} of {wanted:,} fresh labels for the next attempt at the breach")
    return Train("breach", breach.breach_id, breach.rejected + 1)


def _by_labels(situation: Situation, policy: Policy) -> Train | Wait:
    labels, last = situation.labels, situation.last_run
    if last is None or (situation.live_version is None and last.labels_total < policy.first_labels):
        have, wanted, purpose = labels, policy.first_labels, "labelled loans for the first training"
    else:
        have, wanted, purpose = labels - last.labels_total, _step(situation, last, policy), "new labels"
    return Train("labels") if have >= wanted else Wait(f"{have:,} of {wanted:,} {purpose}")


def _step(situation: Situation, last: LastRun, policy: Policy) -> int:
    """New labels wanted. Without a live model, or after a run that failed, the smaller of the two counts will do."""
    if situation.live_version is None or not last.succeeded:
        return min(policy.first_labels, policy.new_labels)
    return policy.new_labels
