"""The wire form of `loan.outcome`: the same rules as the event model, decoded on the hot path by msgspec."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from loanloop_common.errors import InvalidField, InvalidMessage
from msgspec import Meta, Struct

_FIRST_YEAR = 1900
_LAST_YEAR = 9998  # one year of room for the zone and the maturity
_TIMESTAMP_RULE = "must be a date and time with its zone, of the years 1900 to 9998, such as 2005-06-19T00:00:00Z"
_RULES = {
    "event_id": "must be a UUID",
    "occurred_at": _TIMESTAMP_RULE,
    "schema_version": "must be 1",
    "loan_id": "must be text of 1 to 64 characters, without NUL",
    "defaulted": "must be true or false",
    "known_at": _TIMESTAMP_RULE,
}


class LoanOutcomeMessage(Struct, frozen=True, kw_only=True, gc=False):
    event_id: UUID
    occurred_at: Annotated[datetime, Meta(tz=True)]
    schema_version: Literal[1]
    loan_id: Annotated[str, Meta(min_length=1, max_length=64)]
    defaulted: bool
    known_at: Annotated[datetime, Meta(tz=True)]


class OutcomeCodec:
    """Decodes and validates outcomes. Thread-safe."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(LoanOutcomeMessage)
        self._encoder = msgspec.json.Encoder()

    def decode(self, data: bytes) -> LoanOutcomeMessage:
        """Raises InvalidField where one field breaks its rule, InvalidMessage where there is no JSON object."""
        try:
            message = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refused:
            raise _explained(data, refused) from refused
        if "\0" in message.loan_id:
            raise InvalidField("loan_id", message.loan_id, _RULES["loan_id"])
        for field in ("occurred_at", "known_at"):
            value: datetime = getattr(message, field)
            if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
                raise InvalidField(field, value.isoformat(), _TIMESTAMP_RULE)
        return message

    def payload_hash(self, message: LoanOutcomeMessage) -> bytes:
        """SHA-256 over what the outcome says: independent of key order, unknown fields and time zone."""
        occurred_at, known_at = message.occurred_at.astimezone(UTC), message.known_at.astimezone(UTC)
        said = ("outcome", message.loan_id, occurred_at, message.defaulted, known_at)
        return hashlib.sha256(self._encoder.encode(said)).digest()


def _explained(data: bytes, refused: Exception) -> InvalidMessage:
    """The refused message looked at a second time, to name the field, its value and the rule."""
    try:
        payload: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        return InvalidMessage(f"the message is not JSON: {broken}")
    if not isinstance(payload, Mapping):
        return InvalidMessage("the message must be a JSON object")
    for field, rule in _RULES.items():
        if f"required field `{field}`" in str(refused):
            return InvalidField(field, None, f"is missing; {rule}")
        if f"`$.{field}`" in str(refused):
            return InvalidField(field, payload.get(field), rule)
    return InvalidMessage(str(refused))
