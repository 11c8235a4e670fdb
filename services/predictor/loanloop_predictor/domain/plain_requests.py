"""The short way to read a request: straight from its bytes, where there is nothing to explain. Pure."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from loanloop_common.loan_codec import Loan, LoanCodec, check_dates
from loanloop_common.wire_rules import UNDECODABLE, LoanId, Timestamp, is_of_known_year, may_hold_nul

from loanloop_predictor.domain.incoming import REQUEST_TOLERANCE, IncomingLoan


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As `read_requested` takes it: what is null is left out."""

    loan_id: LoanId
    features: Any
    event_id: UUID | None = None
    occurred_at: Timestamp | None = None
    schema_version: Literal[1] | None = None
    outcome: None = None


class _Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    loans: list[msgspec.Raw]


_BATCHES = msgspec.json.Decoder(list[msgspec.Raw] | _Batch)


def loans_apart(body: bytes) -> list[bytes] | None:
    """The JSON of each loan of a batch, not looked into yet. None where the batch itself needs a closer look."""
    try:
        batch = _BATCHES.decode(body)
    except UNDECODABLE:
        return None
    return [bytes(loan) for loan in (batch.loans if isinstance(batch, _Batch) else batch)]


class PlainRequests:
    """Reads what keeps each rule and names nothing unknown; the rest is left to `read_requested`, which says why."""

    def __init__(self, codec: LoanCodec) -> None:
        self._codec = codec
        of_portfolio: dict[str, Any] = {"frozen": True, "kw_only": True, "forbid_unknown_fields": True}
        features = msgspec.defstruct("KnownFeatures", [], bases=(codec.features_type,), gc=False, **of_portfolio)
        request = msgspec.defstruct("PlainRequest", [("features", features)], bases=(_Request,), **of_portfolio)
        self._requests = msgspec.json.Decoder(request)

    def read(self, body: bytes, *, make_id: Callable[[], UUID], now: datetime) -> IncomingLoan | None:
        """None where a closer look is needed. Raises InvalidField where the loan's date lies in the future."""
        try:
            asked: Any = self._requests.decode(body)
        except UNDECODABLE:
            return None
        if may_hold_nul(body) or (asked.occurred_at is not None and not is_of_known_year(asked.occurred_at)):
            return None
        loan = Loan(
            event_id=asked.event_id or make_id(),
            occurred_at=asked.occurred_at or now,
            schema_version=1,
            loan_id=asked.loan_id,
            features=asked.features,
        )
        check_dates(loan, now, REQUEST_TOLERANCE)
        return IncomingLoan(loan, self._codec.payload_hash(loan), dated_here=asked.occurred_at is None)
