"""The events on Kafka: the one source of their JSON Schemas and of the AsyncAPI document.

Readers ignore unknown fields. The features inside `LoanReceived` are the portfolio's; `loan_codec` checks them.
"""

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Topic(StrEnum):
    LOAN_RECEIVED = "loan.received"
    LOAN_OUTCOME = "loan.outcome"
    LOAN_SCORED = "loan.scored"
    MODEL_TRAINED = "model.trained"
    MODEL_EVALUATED = "model.evaluated"
    MODEL_DEPLOYED = "model.deployed"
    ALERT_RAISED = "alert.raised"

    @property
    def dead_letters(self) -> str:
        return f"{self.value}.dlq"


LoanId = Annotated[str, Field(min_length=1, max_length=64)]
Version = Annotated[str, Field(pattern=r"^v[1-9][0-9]*$", examples=["v1"])]
Probability = Annotated[float, Field(ge=0, le=1)]
AlertKind = Literal[
    "retraining_given_up",
    "training_failed",
    "data_quality",
    "reconciliation",
    "model_refused",
    "event_too_large",
    "records_removed",
]
Severity = Literal["info", "warning", "critical"]


class Event(BaseModel):
    """The envelope. `event_id` is the idempotency key, `occurred_at` event time."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    event_id: UUID = Field(default_factory=uuid4)
    occurred_at: AwareDatetime
    schema_version: Literal[1] = 1


class Outcome(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    defaulted: bool
    known_at: AwareDatetime = Field(description="When the outcome became known, event time")


class LoanReceived(Event):
    """A loan application or, with its outcome, a historical loan. `occurred_at` is when it was applied for."""

    loan_id: LoanId
    features: dict[str, Any]
    outcome: Outcome | None = None


class LoanOutcome(Event):
    """What became of a loan. Of several, the one with the latest `occurred_at` holds."""

    loan_id: LoanId
    defaulted: bool
    known_at: AwareDatetime = Field(description="When the outcome became known, event time")


class LoanScored(Event):
    """The stored decision; `event_id` is the decision's id."""

    loan_id: LoanId
    loan_event_id: UUID = Field(description="event_id of the loan.received that was decided")
    probability: Probability = Field(description="Probability of default")
    threshold: Probability
    decision: Literal["approve", "decline"]
    version: Version
    deployment_seq: int
    channel: Literal["stream", "rest"]
    decided_at: AwareDatetime


class ModelTrained(Event):
    """A bundle is stored and ready to be judged."""

    version: Version
    run_id: UUID
    portfolio: str
    trigger: Literal["labels", "breach", "manual"]
    bundle_sha256: str
    train_from: AwareDatetime
    train_to: AwareDatetime = Field(description="The last loan trained, validated or calibrated on")
    n_rows: int


class ModelEvaluated(Event):
    """A verdict on a challenger (`passed`, `rejected`) or on the champion (`breach`, `recovered`)."""

    version: Version
    role: Literal["challenger", "champion"]
    verdict: Literal["passed", "rejected", "breach", "recovered"]
    reason: str
    metric: Literal["f1", "roc_auc"]
    value: float | None
    threshold: float
    n_loans: int
    metrics: dict[str, Any]
    window_from: AwareDatetime
    window_to: AwareDatetime
    day: date | None = None
    breach_id: int | None = None
    opponent: Version | None = None


class ModelDeployed(Event):
    """`version` is live in `slot` from now on. Readers ignore one with a lower `deployment_seq` than applied."""

    slot: str
    version: Version
    deployment_seq: int
    kind: Literal["deploy", "promote", "rollback", "unpin"]
    pinned: bool
    previous: Version | None
    bundle_sha256: str
    actor: str
    reason: str
    deployed_at: AwareDatetime


class AlertRaised(Event):
    kind: AlertKind
    service: str
    severity: Severity
    message: str
    details: dict[str, Any] = {}


EVENT_OF_TOPIC: dict[Topic, type[Event]] = {
    Topic.LOAN_RECEIVED: LoanReceived,
    Topic.LOAN_OUTCOME: LoanOutcome,
    Topic.LOAN_SCORED: LoanScored,
    Topic.MODEL_TRAINED: ModelTrained,
    Topic.MODEL_EVALUATED: ModelEvaluated,
    Topic.MODEL_DEPLOYED: ModelDeployed,
    Topic.ALERT_RAISED: AlertRaised,
}
