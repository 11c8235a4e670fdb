"""From probabilities to decisions. Pure: ids and latency are arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from loanloop_common.bundle import declines
from loanloop_common.loan_codec import LoanCodec

from loanloop_predictor.domain.decisions import Channel, CreditDecision, Decision
from loanloop_predictor.domain.incoming import IncomingLoan


@dataclass(frozen=True, slots=True)
class DecidedBy:
    """What of a version goes into each of its decisions."""

    version: str
    deployment_seq: int
    threshold: float
    engine: str


def credit_decision(probability: float, threshold: float) -> CreditDecision:
    return "decline" if declines(probability, threshold) else "approve"


def decide(
    codec: LoanCodec,
    incoming: Sequence[IncomingLoan],
    probabilities: Sequence[float],
    by: DecidedBy,
    *,
    decision_ids: Sequence[UUID],
    latency_ms: float,
    channel: Channel,
) -> list[Decision]:
    return [
        Decision(
            decision_id=decision_id,
            event_id=one.loan.event_id,
            payload_sha256=one.payload_sha256,
            loan_id=one.loan.loan_id,
            occurred_at=one.loan.occurred_at,
            features=codec.encode_features(one.loan).decode(),
            probability=probability,
            threshold=by.threshold,
            decision=credit_decision(probability, by.threshold),
            version=by.version,
            deployment_seq=by.deployment_seq,
            engine=by.engine,
            latency_ms=latency_ms,
            channel=channel,
        )
        for one, probability, decision_id in zip(incoming, probabilities, decision_ids, strict=True)
    ]
