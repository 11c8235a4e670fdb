"""What the database says of the loop, and the series of metrics that it makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from loanloop_common.telemetry.snapshots import SNAPSHOTS, SnapshotName

from loanloop_evaluator.domain.clock import start_of
from loanloop_evaluator.domain.scored import Confusion

Labels = tuple[str, ...]
Series = dict[Labels, float]
AllSeries = dict[SnapshotName, Series]

MOST_REJECTIONS = 100
LONGEST_LABEL = 120
OTHER = ("other", "other", "other")

# A counter that is there before its first event: Prometheus sees the step from 0 to 1, but none from nothing to 1.
KNOWN_ALERTS: tuple[Labels, ...] = (
    ("retraining_given_up", "critical"),
    ("training_failed", "critical"),
    ("data_quality", "warning"),
    ("reconciliation", "critical"),
    ("model_refused", "warning"),
    ("model_refused", "critical"),
    ("event_too_large", "critical"),
    ("records_removed", "warning"),
    ("records_removed", "critical"),
)
KINDS_OF_DEPLOYMENT = ("deploy", "promote", "rollback", "unpin")
STATES_OF_RUNS = ("queued", "running", "succeeded", "failed")


class LiveModel(NamedTuple):
    """`deployed_at` and `as_of`: when the version became live and has been since, by both clocks."""

    version: str
    deployment_seq: int
    kind: str
    pinned: bool
    deployed_at: datetime
    as_of: datetime | None
    age_s: float


class ClosedDay(NamedTuple):
    """The latest of the live version, as it is stored."""

    day: date
    tp: int
    fp: int
    tn: int
    fn: int
    metrics: Mapping[str, Any]
    value: float | None
    lower: float | None
    upper: float | None


class Breach(NamedTuple):
    attempts: int
    given_up: bool


class Rejections(NamedTuple):
    reason: str
    field: str | None
    rule: str | None
    n: int


class Table(NamedTuple):
    name: str
    n_rows: float
    n_bytes: float


class Beat(NamedTuple):
    service: str
    instance: str
    age_s: float


@dataclass(frozen=True, kw_only=True)
class Facts:
    """At one moment."""

    event_time: datetime | None = None
    live: LiveModel | None = None
    day: ClosedDay | None = None
    breach: Breach | None = None
    n_waiting: int = 0
    alerts: Mapping[Labels, int] = field(default_factory=dict)
    deployments: Mapping[str, int] = field(default_factory=dict)
    training_runs: Mapping[str, int] = field(default_factory=dict)
    n_loans_today: int = 0
    missing_today: Mapping[str, int] = field(default_factory=dict)
    rejected_today: Sequence[Rejections] = ()
    tables: Sequence[Table] = ()
    beats: Sequence[Beat] = ()


@dataclass(frozen=True)
class WatchedPolicy:
    preset: str
    metric: str
    breach_below: float
    gate_at_least: float


def series_of(facts: Facts, policy: WatchedPolicy) -> AllSeries:
    """Every metric that comes from the database; what is unknown has no series."""
    series: AllSeries = {name: {} for name, about in SNAPSHOTS.items() if about.who == "evaluator"}
    series |= _of_loop(facts, policy) | _of_breach(facts, policy) | _of_data(facts)
    if facts.live:
        series |= _of_model(facts.live, facts.event_time, policy.preset)
        if facts.day:
            series |= _of_figures(facts.day, (policy.preset, facts.live.version), policy.metric)
    return series


def _of_loop(facts: Facts, policy: WatchedPolicy) -> AllSeries:
    preset = policy.preset
    alerts = dict.fromkeys(KNOWN_ALERTS, 0) | dict(facts.alerts)
    deployments = dict.fromkeys(KINDS_OF_DEPLOYMENT, 0) | dict(facts.deployments)
    runs = dict.fromkeys(STATES_OF_RUNS, 0) | dict(facts.training_runs)
    return {
        "loanloop_alerts_raised_total": {labels: float(n) for labels, n in alerts.items()},
        "loanloop_deployments_total": {(preset, kind): float(n) for kind, n in deployments.items()},
        "loanloop_training_runs": {(state,): float(n) for state, n in runs.items()},
        "loanloop_versions_waiting": {(): float(facts.n_waiting)},
        "loanloop_event_time_seconds": {(preset,): facts.event_time.timestamp()} if facts.event_time else {},
        "loanloop_policy_threshold": {
            (preset, policy.metric, "breach_below"): policy.breach_below,
            (preset, policy.metric, "gate_at_least"): policy.gate_at_least,
        },
        "loanloop_service_heartbeat_age_seconds": {(b.service, b.instance): max(b.age_s, 0.0) for b in facts.beats},
    }


def _of_breach(facts: Facts, policy: WatchedPolicy) -> AllSeries:
    labels, breach = (policy.preset,), facts.breach
    return {
        "loanloop_breach_open": {labels: float(breach is not None)},
        "loanloop_breach_attempts": {labels: float(breach.attempts if breach else 0)},
        "loanloop_retraining_given_up": {labels: float(breach is not None and breach.given_up)},
    }


def _of_model(live: LiveModel, event_time: datetime | None, preset: str) -> AllSeries:
    ages: Series = {(preset, "wall"): max(live.age_s, 0.0)}
    if event_time and live.as_of:
        ages[preset, "event"] = max((event_time - live.as_of).total_seconds(), 0.0)
    pinned = "true" if live.pinned else "false"
    return {
        "loanloop_live_model_info": {(preset, live.version, live.kind, pinned): 1.0},
        "loanloop_live_model_deployment_seq": {(preset,): float(live.deployment_seq)},
        "loanloop_live_model_deployed_timestamp_seconds": {(preset,): live.deployed_at.timestamp()},
        "loanloop_live_model_age_seconds": ages,
    }


def _of_figures(day: ClosedDay, of_model: Labels, metric: str) -> AllSeries:
    """Of the latest closed day, and of the window that ends on it."""
    window = day.metrics["window"]
    own = Confusion(day.tp, day.fp, day.tn, day.fn)
    pooled = Confusion(window["tp"], window["fp"], window["tn"], window["fn"])
    of_day, rolling = (*of_model, "day"), (*of_model, "rolling")
    return {
        "loanloop_model_outcomes": {of_day: float(own.n), rolling: float(pooled.n)},
        "loanloop_model_f1": _known({of_day: own.f1, rolling: pooled.f1}),
        "loanloop_model_precision": _known({of_day: own.precision, rolling: pooled.precision}),
        "loanloop_model_recall": _known({of_day: own.recall, rolling: pooled.recall}),
        "loanloop_model_accuracy": _known({of_day: own.accuracy, rolling: pooled.accuracy}),
        "loanloop_model_roc_auc": _known({of_day: day.metrics["roc_auc"], rolling: window["roc_auc"]}),
        "loanloop_model_metric": _known(
            {
                (*of_model, metric, "value"): day.value,
                (*of_model, metric, "lower"): day.lower,
                (*of_model, metric, "upper"): day.upper,
            }
        ),
        "loanloop_model_closed_day_timestamp_seconds": {of_model: start_of(day.day).timestamp()},
    }


def _known(values: Mapping[Labels, float | None]) -> Series:
    return {labels: value for labels, value in values.items() if value is not None}


def _of_data(facts: Facts) -> AllSeries:
    rejected: Series = {}
    for place, one in enumerate(facts.rejected_today):
        named = (one.reason, one.field or "", one.rule or "")
        labels = tuple(text[:LONGEST_LABEL] for text in named) if place < MOST_REJECTIONS else OTHER
        rejected[labels] = rejected.get(labels, 0.0) + one.n
    return {
        "loanloop_data_quality_loans": {(): float(facts.n_loans_today)},
        "loanloop_data_quality_missing": {(name,): float(n) for name, n in facts.missing_today.items()},
        "loanloop_data_quality_rejected": rejected,
        "loanloop_table_rows": {(table.name,): float(table.n_rows) for table in facts.tables},
        "loanloop_table_size_bytes": {(table.name,): float(table.n_bytes) for table in facts.tables},
    }
