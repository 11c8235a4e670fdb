"""What ingest makes of one message: an event ready to be stored, or the error that refuses it."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from loanloop_common.loan_codec import LoanCodec, check_dates
from loanloop_common.wire_rules import refuse_future
from msgspec import Struct
from msgspec.structs import astuple

from loanloop_ingest.domain.outcome_codec import LoanOutcomeMessage, OutcomeCodec


class Place(NamedTuple):
    """Where a message lies on Kafka."""

    topic: str
    partition: int
    offset: int


class LoanPart(Struct, frozen=True, gc=False):
    """What an event says about the application: its features as JSON, and as `values` in the portfolio's order."""

    occurred_at: datetime
    matured_at: datetime
    is_history: bool
    features: bytes
    values: tuple[object, ...]


class OutcomePart(Struct, frozen=True, gc=False):
    """What an event says about the end of the loan."""

    occurred_at: datetime
    defaulted: bool
    known_at: datetime


class Incoming(Struct, frozen=True, gc=False):
    """A valid event of either topic; a loan of history has both parts."""

    place: Place
    event_id: UUID
    payload_sha256: bytes
    payload: bytes
    loan_id: str
    occurred_at: datetime
    loan: LoanPart | None
    outcome: OutcomePart | None


class MessageReader:
    """Decodes and validates the messages of both loan topics. Thread-safe."""

    def __init__(self, codec: LoanCodec, *, maturity: timedelta) -> None:
        self._loans = codec
        self._outcomes = OutcomeCodec()
        self._maturity = maturity
        self.fields: tuple[str, ...] = codec.features_type.__struct_fields__

    def read_loan(self, place: Place, payload: bytes, *, now: datetime) -> Incoming:
        """Raises InvalidMessage."""
        loan = self._loans.decode(payload)
        check_dates(loan, now)
        outcome = None
        if loan.outcome is not None:
            outcome = OutcomePart(loan.occurred_at, loan.outcome.defaulted, loan.outcome.known_at)
        occurred_at = loan.occurred_at
        values = astuple(loan.features)
        features = self._loans.encode_features(loan)
        part = LoanPart(occurred_at, occurred_at + self._maturity, outcome is not None, features, values)
        said = self._loans.payload_hash(loan)
        return Incoming(place, loan.event_id, said, payload, loan.loan_id, occurred_at, part, outcome)

    def read_outcome(self, place: Place, payload: bytes, *, now: datetime) -> Incoming:
        """Raises InvalidMessage."""
        message: LoanOutcomeMessage = self._outcomes.decode(payload)
        refuse_future("occurred_at", message.occurred_at, now)
        refuse_future("known_at", message.known_at, now)
        outcome = OutcomePart(message.occurred_at, message.defaulted, message.known_at)
        said = self._outcomes.payload_hash(message)
        return Incoming(place, message.event_id, said, payload, message.loan_id, message.occurred_at, None, outcome)
