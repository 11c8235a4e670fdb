"""What REST answers."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from loanloop_common.errors import LoanloopError
from pydantic import BaseModel, ConfigDict, Field

from loanloop_predictor.api.errors import ErrorDetail, detail_of
from loanloop_predictor.domain.decisions import CreditDecision, StoredDecision
from loanloop_predictor.domain.incoming import IncomingLoan
from loanloop_predictor.serving.champion import Champion
from loanloop_predictor.serving.champions import Swap


class DecisionAnswer(BaseModel):
    """The stored decision. `probability` is that of default; from `threshold` on the loan is declined."""

    decision_id: UUID
    event_id: UUID
    loan_id: str
    probability: float
    decision: CreditDecision
    threshold: float
    version: str
    deployment_seq: int
    decided_at: datetime
    ignored_features: list[str] = Field(default=[], description="Sent, but the portfolio has no such features")


class BatchItem(BaseModel):
    """Exactly one of the two, in the place of the loan that was sent."""

    decision: DecisionAnswer | None = None
    error: ErrorDetail | None = None


class BatchAnswer(BaseModel):
    results: list[BatchItem]
    n_decided: int
    n_refused: int


class SwapAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    version: str
    deployment_seq: int
    load_ms: float | None
    switch_us: float


class UnservedAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    version: str
    deployment_seq: int
    reason: str


class AliveAnswer(BaseModel):
    """The event loop has answered, so it turns."""

    status: Literal["alive"] = "alive"


class HealthAnswer(BaseModel):
    """200 as long as the process lives; `status` says what it can do."""

    status: Literal["ok", "waiting for a model", "degraded"]
    version: str | None
    deployment_seq: int | None
    stream: str
    database: str
    reconcile: str = Field(description="`failing` where the last look for the live version failed; the log says why")
    last_swap: SwapAnswer | None
    refused: UnservedAnswer | None
    postponed: UnservedAnswer | None = Field(
        description="Newer than what serves, but can't be loaded for now; tried again"
    )


class ReloadAnswer(BaseModel):
    version: str
    deployment_seq: int
    changed: bool
    last_swap: SwapAnswer | None


class LeakWarning(BaseModel):
    """A feature known only after the decision, which the portfolio allows, and why; or what the audit found."""

    field: str
    warning: str


class ModelInfo(BaseModel):
    version: str
    deployment_seq: int
    deployed_at: datetime
    portfolio: str
    kind: str = Field(description="tabtransformer, or ensemble: with boosted trees")
    weights: dict[str, float] = Field(description="Of the log-odds of an ensemble's models")
    threshold: float
    metric: str
    metrics: dict[str, Any] = Field(description="On its newest loans, when it had not learnt them yet")
    data_from: datetime
    data_to: datetime
    n_rows: int
    features: list[str]
    warnings: list[LeakWarning]
    engine: str
    bundle_sha256: str
    last_swap: SwapAnswer | None


# The same fields, encoded in a tenth of the time.
_Decision = msgspec.defstruct("_Decision", [*DecisionAnswer.model_fields], frozen=True, gc=False)
_Item = msgspec.defstruct("_Item", [*BatchItem.model_fields], frozen=True, gc=False)
_Batch = msgspec.defstruct("_Batch", [*BatchAnswer.model_fields], frozen=True, gc=False)
_ENCODER = msgspec.json.Encoder()


def encoded_answer(stored: StoredDecision, asked: IncomingLoan) -> bytes:
    """The JSON of a DecisionAnswer."""
    return _ENCODER.encode(_Decision(*_values(stored, asked)))


def encoded_batch(
    asked: Sequence[IncomingLoan | LoanloopError], answers: Iterable[StoredDecision | LoanloopError]
) -> tuple[bytes, int]:
    """The JSON of a BatchAnswer, and how many loans are refused; `answers` are those of the loans that were read."""
    to_come = iter(answers)
    items = [_item(next(to_come), one) if isinstance(one, IncomingLoan) else _refused(one) for one in asked]
    n_refused = sum(item.decision is None for item in items)
    return _ENCODER.encode(_Batch(items, len(items) - n_refused, n_refused)), n_refused


def _item(answer: StoredDecision | LoanloopError, asked: IncomingLoan) -> Any:
    return _refused(answer) if isinstance(answer, LoanloopError) else _Item(_Decision(*_values(answer, asked)), None)


def _refused(error: LoanloopError) -> Any:
    return _Item(None, dict(detail_of(error)))


def _values(stored: StoredDecision, asked: IncomingLoan) -> tuple[Any, ...]:
    """In the order of DecisionAnswer's fields."""
    made = stored.decision
    return (
        made.decision_id,
        made.event_id,
        made.loan_id,
        made.probability,
        made.decision,
        made.threshold,
        made.version,
        made.deployment_seq,
        stored.decided_at,
        asked.ignored_features,
    )


def model_info(champion: Champion, swap: Swap | None) -> ModelInfo:
    manifest = champion.bundle.manifest
    warnings = [LeakWarning(field=allowed.field, warning=allowed.reason) for allowed in manifest.allowed]
    warnings += [LeakWarning(field=f.feature, warning=f.warning) for f in manifest.audit if f.used and f.warning]
    return ModelInfo(
        version=champion.by.version,
        deployment_seq=champion.by.deployment_seq,
        deployed_at=champion.deployed_at,
        portfolio=manifest.portfolio,
        kind=manifest.kind,
        weights=manifest.weights,
        threshold=champion.by.threshold,
        metric=manifest.metric,
        metrics=manifest.metrics,
        data_from=manifest.train_from,
        data_to=manifest.train_to,
        n_rows=manifest.n_rows,
        features=list(manifest.features),
        warnings=warnings,
        engine=champion.by.engine,
        bundle_sha256=champion.bundle.sha256,
        last_swap=swap and SwapAnswer.model_validate(swap),
    )
