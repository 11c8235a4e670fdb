"""What an installation looks like at one moment: typed facts, no queries and no rendering."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from loanloop_common.instances import AT_WORK, STALE_AFTER_S

from loanloop.observe.loan_counts import LoanCounts


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A running service; `age_s` is how long ago its heartbeat was written."""

    service: str
    instance_id: str
    url: str | None
    version: str | None
    deployment_seq: int | None
    detail: dict[str, Any]
    age_s: float

    @property
    def is_alive(self) -> bool:
        return self.age_s < STALE_AFTER_S

    @property
    def troubled(self) -> dict[str, str]:
        """The state of each part that is not at work."""
        parts = self.detail.get("parts")
        if not isinstance(parts, dict):
            return {}
        return {str(name): str(state) for name, state in parts.items() if state not in AT_WORK}


@dataclass(frozen=True, kw_only=True)
class Lag:
    """How far a consumer group has come in a topic; `committed` and `end` are sums over the partitions."""

    topic: str
    group: str
    committed: int
    end: int

    @property
    def waiting(self) -> int:
        return max(self.end - self.committed, 0)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The evaluator's verdict on a challenger."""

    passed: bool
    reason: str
    f1: float | None
    roc_auc: float | None
    n_loans: int
    window_from: datetime
    window_to: datetime
    opponent: str | None
    opponent_f1: float | None
    opponent_roc_auc: float | None


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    version: str
    trigger: str
    train_from: datetime
    train_to: datetime
    n_rows: int
    created_at: datetime
    gate: Gate | None


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Live from and to on both clocks; `live_to` is None for what is live now."""

    deployment_seq: int
    version: str
    kind: str
    pinned: bool
    previous: str | None
    actor: str
    reason: str
    live_from: datetime
    live_to: datetime | None
    live_from_event_time: datetime | None
    live_to_event_time: datetime | None
    login: str | None  # of the database, beside the name that `actor` gave; None: of before it was kept


@dataclass(frozen=True, kw_only=True)
class Training:
    """The newest training run; what `progress` holds depends on the phase."""

    run_id: str
    trigger: str
    attempt: int
    state: str
    phase: str | None
    progress: dict[str, Any]
    n_rows: int | None
    n_unlabelled: int
    window_from: datetime | None
    window_to: datetime | None
    crashes: int
    error: str | None
    version: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.state in {"queued", "running"}


@dataclass(frozen=True, kw_only=True)
class Day:
    """The policy's metric over the window that ends on `day`, with its bounds; None: too few outcomes are known."""

    day: date
    version: str
    value: float | None
    lower: float | None
    upper: float | None
    f1: float | None
    n_loans: int


@dataclass(frozen=True, kw_only=True)
class Breach:
    breach_id: int
    version: str
    opened_on: date
    opened_at: datetime
    value: float
    upper: float
    closed_on: date | None
    closed_by: str | None
    relapses: int


@dataclass(frozen=True, kw_only=True)
class Alert:
    service: str
    kind: str
    severity: str
    message: str
    raised_at: datetime


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided on a loan; `probability` is that of default."""

    loan_id: str
    occurred_at: datetime
    probability: float
    threshold: float
    decision: str
    version: str
    channel: str
    decided_at: datetime


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The part of the policy that a reader of the figures needs."""

    portfolio: str
    metric: str
    threshold: float
    gate_at_least: float
    window_days: int
    first_labels: int
    maturity_days: int
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def metric_name(self) -> str:
        return "F1" if self.metric == "f1" else "ROC-AUC"


@dataclass(frozen=True, kw_only=True)
class Where:
    kafka: str
    postgres: str
    rest: str | None
    page: str | None = None
    data_dir: str | None = None
    logs: str | None = None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    taken_at: datetime
    rule: Rule
    where: Where
    as_of: datetime | None
    stream_day: datetime | None
    loans: LoanCounts
    instances: tuple[Instance, ...] = ()
    lags: tuple[Lag, ...] = ()
    messages: dict[str, int] = field(default_factory=dict)  # ever written, by topic
    versions: tuple[ModelVersion, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    training: Training | None = None
    days: tuple[Day, ...] = ()
    breaches: tuple[Breach, ...] = ()
    alerts: tuple[Alert, ...] = ()
    decisions: tuple[Decision, ...] = ()  # the newest, the last one first
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    kafka_problem: str | None = None

    @property
    def live(self) -> Deployment | None:
        return self.deployments[-1] if self.deployments else None

    @property
    def open_breach(self) -> Breach | None:
        return next((breach for breach in self.breaches if breach.closed_on is None and not breach.closed_by), None)

    def lag_of(self, topic: str, group: str) -> int:
        return sum(lag.waiting for lag in self.lags if (lag.topic, lag.group) == (topic, group))
