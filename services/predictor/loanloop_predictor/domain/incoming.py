"""Loans as they come in: by stream as whole events, by REST with the envelope left to us. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from loanloop_common.errors import InvalidField, InvalidMessage
from loanloop_common.loan_codec import Loan, LoanCodec, check_dates

# Less than the stream's: a loan decided here by our clock goes to the stream, where ingest and we judge it again by the
# broker's. As long as that one is not four minutes behind ours, what was decided is stored.
REQUEST_TOLERANCE = timedelta(minutes=1)


class IncomingLoan(msgspec.Struct, frozen=True, gc=False):
    """A valid loan to decide. `dated_here`: the sender left occurred_at to us, so a retry carries another one.

    `ignored_features`: what a request names that the portfolio has not, perhaps a slip of the pen for what it may lack.
    `traceparent`: a request's; that of a message stays with the message. `requested_by`: whose key or token asked.
    """

    loan: Loan
    payload_sha256: bytes
    dated_here: bool = False
    ignored_features: tuple[str, ...] = ()
    traceparent: str | None = None
    requested_by: str | None = None


class LeavingLoan(NamedTuple):
    """A request's loan as it goes to `loan.received`; `requested_by` stays with the decision, no event has it."""

    payload: bytes
    traceparent: str | None
    requested_by: str | None


@dataclass(slots=True)
class StreamedLoans:
    """What a batch of records holds. History is stored by ingest, never decided; what is invalid ingest dead-letters.

    `places`: of the loans to decide, among the messages.
    """

    to_decide: list[IncomingLoan] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    n_history: int = 0
    n_invalid: int = 0

    def by_event(self, by_place: Mapping[int, str]) -> dict[UUID, str]:
        """What came with the messages of the loans to decide; of an event that came more than once, with its first."""
        if not by_place:
            return {}
        firsts: dict[UUID, int] = {}
        for place, one in zip(self.places, self.to_decide, strict=True):
            firsts.setdefault(one.loan.event_id, place)
        return {event_id: by_place[place] for event_id, place in firsts.items() if place in by_place}


def read_streamed(
    codec: LoanCodec,
    messages: Iterable[tuple[bytes | None, datetime]],
    *,
    is_decided: Callable[[bytes | None], bool] = lambda _: False,
) -> StreamedLoans:
    """By the rules of ingest, so that nothing is decided that will not be stored.

    Each message comes with the moment that it arrived at: whether a date lies in the future does not depend on when
    it is read. What `is_decided` knows is passed over.
    """
    read = StreamedLoans()
    for place, (value, arrived_at) in enumerate(messages):
        if is_decided(value):
            continue
        try:
            loan = codec.decode(value or b"")
            check_dates(loan, arrived_at)
        except InvalidMessage:
            read.n_invalid += 1
            continue
        if loan.outcome is not None:
            read.n_history += 1
        else:
            read.to_decide.append(IncomingLoan(loan, codec.payload_hash(loan)))
            read.places.append(place)
    return read


def read_requested(codec: LoanCodec, body: Any, *, event_id: UUID, now: datetime) -> IncomingLoan:
    """A request's loan, checked as the event that it becomes; `event_id` and `now` where the sender gives none.

    Raises InvalidMessage as the codec does.
    """
    if not isinstance(body, dict):
        raise InvalidMessage("a loan must be a JSON object with loan_id and features")
    if body.get("outcome") is not None:
        rule = "a loan with its outcome is history and is not decided; produce it to loan.received"
        raise InvalidField("outcome", body["outcome"], rule)
    payload = {"schema_version": 1} | {name: value for name, value in body.items() if value is not None}
    dated_here = "occurred_at" not in payload
    payload.setdefault("event_id", str(event_id))
    payload.setdefault("occurred_at", now.isoformat())
    loan = codec.convert(payload)
    check_dates(loan, now, REQUEST_TOLERANCE)
    ignored = set(body["features"]) - set(codec.feature_names)
    return IncomingLoan(loan, codec.payload_hash(loan), dated_here, tuple(sorted(ignored)))


def hash_if_dated(codec: LoanCodec, incoming: IncomingLoan, occurred_at: datetime) -> bytes:
    """The payload's hash, had the sender's first try, dated by us at `occurred_at`, been this one."""
    if not incoming.dated_here:
        return incoming.payload_sha256
    return codec.payload_hash(msgspec.structs.replace(incoming.loan, occurred_at=occurred_at))
