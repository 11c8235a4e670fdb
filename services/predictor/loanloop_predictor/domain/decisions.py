"""A decision on a loan: what is stored, answered and published. Pure: ids, time and thresholds are arguments."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from loanloop_common.errors import LoanloopError
from msgspec import Struct

Channel = Literal["stream", "rest"]
CreditDecision = Literal["approve", "decline"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)
CREDIT_DECISIONS: tuple[CreditDecision, ...] = get_args(CreditDecision)


class Decision(Struct, frozen=True, gc=False):
    """One loan decided; `features` is the JSON text of what the model was given, `payload_sha256` of the event."""

    decision_id: UUID
    event_id: UUID
    payload_sha256: bytes
    loan_id: str
    occurred_at: datetime
    features: str
    probability: float
    threshold: float
    decision: CreditDecision
    version: str
    deployment_seq: int
    engine: str
    latency_ms: float
    channel: Channel


class StoredDecision(Struct, frozen=True, gc=False):
    """The decision that holds for an event. `is_new`: this call has stored it; else an earlier one had."""

    decision: Decision
    decided_at: datetime
    is_new: bool


class DecisionNotKept(LoanloopError):
    """The event is decided: its key says so. What was decided was in a partition that has been dropped since."""

    def __init__(self, *, event_id: UUID, decision_id: UUID, payload_sha256: bytes, decided_at: datetime) -> None:
        self.event_id = event_id
        self.decision_id = decision_id
        self.payload_sha256 = payload_sha256
        super().__init__(
            f"event_id {event_id} was decided at {decided_at:%Y-%m-%d %H:%M} UTC as decision {decision_id}, "
            "which is no longer kept; it is not decided again"
        )


class NoProbability(LoanloopError):
    """A loan that a version gives none: it is neither approved nor declined."""

    def __init__(self, version: str) -> None:
        super().__init__(f"{version} gives this loan no probability; it is not decided")


class Undecided(Struct, frozen=True, gc=False):
    """A loan that a version gave no probability; `place` is its message's in the batch."""

    event_id: UUID
    payload_sha256: bytes
    version: str
    place: int


def first_of_each_event(decisions: Iterable[Decision]) -> list[Decision]:
    """In the order of event_id, so that two replicas lock the same keys in the same order."""
    first: dict[UUID, Decision] = {}
    for decision in decisions:
        first.setdefault(decision.event_id, decision)
    return sorted(first.values(), key=lambda decision: decision.event_id)


def time_ordered_ids(now_ms: int, random: bytes) -> list[UUID]:
    """UUIDs of version 7, one for each 10 random bytes: neighbours in time are neighbours in the index."""
    prefix = now_ms.to_bytes(6, "big")
    return [_version_7(prefix + random[i : i + 10]) for i in range(0, len(random), 10)]


def _version_7(raw: bytes) -> UUID:
    bits = int.from_bytes(raw, "big")
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    return UUID(int=bits & ~(0x3 << 62) | (0x2 << 62))


def conflicts(held: StoredDecision | DecisionNotKept, payload_sha256: bytes) -> bool:
    """Whether the event_id was decided for another payload."""
    decided = held if isinstance(held, DecisionNotKept) else held.decision
    return decided.payload_sha256 != payload_sha256
