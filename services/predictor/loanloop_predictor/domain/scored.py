"""The wire form of `loan.scored`: the bytes of `events.LoanScored`, encoded by msgspec for the hot path."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from loanloop_predictor.domain.decisions import Channel, CreditDecision, Decision, StoredDecision


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
    decided_at: datetime  # the last


_ENCODER = msgspec.json.Encoder()
_NOT_YET = datetime(1, 1, 1, tzinfo=UTC)
_END = len(_ENCODER.encode(_NOT_YET)) + len("}")


def scored_event(stored: StoredDecision) -> bytes:
    """One event for one decision: its event_id is the decision's id, so that publishing twice says it once."""
    return _event(stored.decision, stored.decided_at)


def begun_scored_event(made: Decision) -> bytes:
    """The event up to its last value: whoever stores the decision adds when that was, in quotes, and the brace."""
    return _event(made, _NOT_YET)[:-_END]


def _event(made: Decision, decided_at: datetime) -> bytes:
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
            decided_at=decided_at,
        )
    )
