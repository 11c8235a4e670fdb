"""The wire form of `loan.scored`: the bytes of `events.LoanScored`, encoded by msgspec for the hot path."""

from datetime import datetime
from uuid import UUID

import msgspec

from loanloop_predictor.domain.decisions import Channel, CreditDecision, StoredDecision


class _Scored(msgspec.Struct, frozen=True, gc=False):
    event_id: UUID
    occurred_at: datetime
    schema_version: int
    loan_id: str
    loan_event_id: UUID
    probability: float
    threshold: float
    decision: CreditDecision
    version: str
    deployment_seq: int
    channel: Channel
    decided_at: datetime


_ENCODER = msgspec.json.Encoder()


def scored_event(stored: StoredDecision) -> bytes:
    """One event for one decision: its event_id is the decision's id, so that publishing twice says it once."""
    made = stored.decision
    return _ENCODER.encode(
        _Scored(
            event_id=made.decision_id,
            occurred_at=made.occurred_at,
            schema_version=1,
            loan_id=made.loan_id,
            loan_event_id=made.event_id,
            probability=made.probability,
            threshold=made.threshold,
            decision=made.decision,
            version=made.version,
            deployment_seq=made.deployment_seq,
            channel=made.channel,
            decided_at=stored.decided_at,
        )
    )
