"""What ingest makes of one message: an event ready to be stored, or the error that refuses it."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from loanloop_common.loan_codec import LoanCodec, check_dates
from loanloop_common.wire_rules import refuse_future
from msgspec.structs import astuple

from loanloop_ingest.domain.outcome_codec import LoanOutcomeMessage, OutcomeCodec


class Place(NamedTuple):
    """Where a message lies on Kafka."""

    topic: str
    partition: int
    offset: int


class LoanPart(NamedTuple):
    """What an event says about the application. `values` are the features in the portfolio's order."""

    occurred_at: datetime
    matured_at: datetime
    is_history: bool
    features: str
    values: tuple[object, ...]


class OutcomePart(NamedTuple):
    """What an event says about the end of the loan."""

    occurred_at: datetime
    defaulted: bool
    known_at: datetime


class Incoming(NamedTuple):
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
        part = LoanPart(
            occurred_at=loan.occurred_at,
            matured_at=loan.occurred_at + self._maturity,
            is_history=outcome is not None,
            features=self._loans.encode_features(loan).decode(),
            values=astuple(loan.features),
        )
        return Incoming(
            place=place,
            event_id=loan.event_id,
            payload_sha256=self._loans.payload_hash(loan),
            payload=payload,
            loan_id=loan.loan_id,
            occurred_at=loan.occurred_at,
            loan=part,
            outcome=outcome,
        )

    def read_outcome(self, place: Place, payload: bytes, *, now: datetime) -> Incoming:
        """Raises InvalidMessage."""
        message: LoanOutcomeMessage = self._outcomes.decode(payload)
        refuse_future("occurred_at", message.occurred_at, now)
        refuse_future("known_at", message.known_at, now)
        return Incoming(
            place=place,
            event_id=message.event_id,
            payload_sha256=self._outcomes.payload_hash(message),
            payload=payload,
            loan_id=message.loan_id,
            occurred_at=message.occurred_at,
            loan=None,
            outcome=OutcomePart(message.occurred_at, message.defaulted, message.known_at),
        )
