"""The wire form of `loan.outcome`: the same rules as the event model, decoded on the hot path by msgspec."""

import hashlib
from datetime import UTC
from typing import Literal
from uuid import UUID

import msgspec
from loanloop_common.wire_rules import (
    ENVELOPE_RULES,
    TIMESTAMP_RULE,
    UNDECODABLE,
    LoanId,
    Timestamp,
    explained,
    may_hold_nul,
    refuse_depth,
    refuse_nul,
    refuse_year,
)
from msgspec import Struct

_RULES = ENVELOPE_RULES | {"defaulted": "must be true or false", "known_at": TIMESTAMP_RULE}


class LoanOutcomeMessage(Struct, frozen=True, kw_only=True, gc=False):
    event_id: UUID
    occurred_at: Timestamp
    schema_version: Literal[1]
    loan_id: LoanId
    defaulted: bool
    known_at: Timestamp


class OutcomeCodec:
    """Decodes and validates outcomes. Thread-safe."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(LoanOutcomeMessage)
        self._encoder = msgspec.json.Encoder()

    def decode(self, data: bytes) -> LoanOutcomeMessage:
        """Raises InvalidField where one field breaks its rule, InvalidMessage where there is no JSON object."""
        refuse_depth(data)
        try:
            message = self._decoder.decode(data)
        except UNDECODABLE as refused:
            raise explained(data, refused, _RULES) from refused
        if may_hold_nul(data):
            refuse_nul({"loan_id": message.loan_id})
        refuse_year("occurred_at", message.occurred_at)
        refuse_year("known_at", message.known_at)
        return message

    def payload_hash(self, message: LoanOutcomeMessage) -> bytes:
        """SHA-256 over what the outcome says: independent of key order, unknown fields and time zone."""
        occurred_at, known_at = message.occurred_at.astimezone(UTC), message.known_at.astimezone(UTC)
        said = ("outcome", message.loan_id, occurred_at, message.defaulted, known_at)
        return hashlib.sha256(self._encoder.encode(said)).digest()
