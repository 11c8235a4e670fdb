"""The wire form of `loan.received`: decoding validates, by structs that the portfolio file defines.

The hot path decodes bytes straight into a struct; only a refused message is looked at a second time, to name the
field, its value and the rule.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from loanloop_common.errors import InvalidMessage
from loanloop_common.portfolio import Feature, Portfolio
from loanloop_common.wire_rules import (
    ENVELOPE_RULES,
    FUTURE_TOLERANCE,
    NO_NUL,
    TIMESTAMP_RULE,
    TOO_DEEP,
    UNDECODABLE,
    LoanId,
    Timestamp,
    explained,
    may_hold_nul,
    refuse_depth,
    refuse_future,
    refuse_nul,
    refuse_year,
    with_whole_numbers,
)

_RULES = ENVELOPE_RULES | {
    "features": "must be an object with the loan's features",
    "outcome": "must be an object with defaulted and known_at, or be left out",
    "outcome.defaulted": "must be true or false",
    "outcome.known_at": TIMESTAMP_RULE,
}


class LoanOutcomePart(Struct, frozen=True, gc=False):
    defaulted: bool
    known_at: Timestamp


class Loan(Struct, frozen=True, kw_only=True):
    """One `loan.received`. `features` is a struct with one attribute for each feature, None where missing."""

    event_id: UUID
    occurred_at: Timestamp
    schema_version: Literal[1]
    loan_id: LoanId
    features: Any
    outcome: LoanOutcomePart | None = None


class LoanCodec:
    """Decodes and validates loans of one portfolio. Thread-safe."""

    def __init__(self, portfolio: Portfolio) -> None:
        self._portfolio = portfolio
        # In the order of their names, so that they are encoded in it without being sorted each time.
        features = sorted(portfolio.features.values(), key=lambda feature: feature.name)
        fields = [_struct_field(feature) for feature in features]
        self.features_type = msgspec.defstruct(
            "Features", fields, frozen=True, kw_only=True, gc=False, omit_defaults=True
        )
        loan_type = msgspec.defstruct(
            "PortfolioLoan", [("features", self.features_type)], bases=(Loan,), frozen=True, kw_only=True
        )
        self._loans = msgspec.json.Decoder(cast("type[Loan]", loan_type))
        stored = [(feature.name, _stored_type(feature), None) for feature in features]
        self._optional_features = msgspec.defstruct("StoredFeatures", stored, frozen=True, gc=False, omit_defaults=True)
        self._features = msgspec.json.Decoder(self._optional_features)
        self._canonical = msgspec.json.Encoder(order="sorted")
        self._encoder = msgspec.json.Encoder()
        self._rules = _RULES | {f"features.{f.name}": f.rule() for f in portfolio.features.values()}
        self._whole_numbers = [f.name for f in portfolio.features.values() if f.kind == "number" and f.integer]
        self._texts = tuple(f.name for f in portfolio.features.values() if f.kind == "category")

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(self._portfolio.features)

    def decode(self, data: bytes) -> Loan:
        """Raises InvalidField where one field breaks its rule, InvalidMessage where there is no JSON object."""
        refuse_depth(data)
        try:
            loan = self._loans.decode(data)
        except UNDECODABLE as refused:
            mended = with_whole_numbers(data, self._whole_numbers)
            try:
                loan = self._loans.decode(mended or data)
            except UNDECODABLE as refused_again:
                raise explained(mended or data, refused_again, self._rules) from refused
        if may_hold_nul(data):
            texts = {f"features.{name}": getattr(loan.features, name) for name in self._texts}
            refuse_nul({"loan_id": loan.loan_id} | texts)
        refuse_year("occurred_at", loan.occurred_at)
        if loan.outcome is not None:
            refuse_year("outcome.known_at", loan.outcome.known_at)
        return loan

    def convert(self, payload: Mapping[str, Any]) -> Loan:
        """As `decode`, for a payload that is parsed already."""
        try:
            data = msgspec.json.encode(payload)
        except RecursionError as nested:
            raise InvalidMessage(TOO_DEEP) from nested
        return self.decode(data)

    def decode_features(self, data: bytes | str) -> Any:
        """Features alone, as `encode_features` gave them or a database stored them.

        Held to no rule: they kept those of their day, and a range narrowed since must not make old loans unreadable.
        """
        return self._features.decode(data)

    def decode_columns(self, features: Sequence[bytes]) -> dict[str, tuple[Any, ...]]:
        """Of each feature the values in all of `features`, at least one, each as `decode_features` takes it."""
        rows = map(msgspec.structs.astuple, map(self._features.decode, features))
        return dict(zip(self._optional_features.__struct_fields__, zip(*rows, strict=True), strict=True))

    def encode_features(self, loan: Loan) -> bytes:
        """JSON of the validated features: null where that was sent, and without the optional ones that were not."""
        return self._encoder.encode(loan.features)

    def encode(self, loan: Loan) -> bytes:
        """The wire form; `decode` of it gives an equal loan."""
        return self._canonical.encode(loan)

    def payload_hash(self, loan: Loan) -> bytes:
        """SHA-256 over what the loan says: independent of key order, unknown fields, channel and time zone.

        A missing feature says nothing, so that an optional one added to the portfolio changes no hash that is stored.
        """
        outcome = loan.outcome and (loan.outcome.defaulted, loan.outcome.known_at.astimezone(UTC))
        given = self._optional_features(*msgspec.structs.astuple(loan.features))  # encoded without what is None
        said = (loan.loan_id, loan.occurred_at.astimezone(UTC), given, outcome)
        return hashlib.sha256(self._encoder.encode(said)).digest()

    def example(self) -> dict[str, Any]:
        """A valid event, from the examples in the portfolio file."""
        return {
            "event_id": "00000000-0000-4000-8000-000000000001",
            "occurred_at": "2005-05-20T00:00:00Z",
            "schema_version": 1,
            "loan_id": "1000014003",
            "features": {feature.name: _example_of(feature) for feature in self._portfolio.features.values()},
        }

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of the object `features`."""
        features = self._portfolio.features.values()
        return {
            "type": "object",
            "title": self._portfolio.title or self._portfolio.name,
            "properties": {feature.name: _property(feature) for feature in features},
            "required": [feature.name for feature in features if feature.required],
        }


def check_dates(loan: Loan, now: datetime, tolerance: timedelta = FUTURE_TOLERANCE) -> None:
    """Raises InvalidField where a date lies more than `tolerance` after `now`."""
    refuse_future("occurred_at", loan.occurred_at, now, tolerance)
    if loan.outcome is not None:
        refuse_future("outcome.known_at", loan.outcome.known_at, now, tolerance)


def _struct_field(feature: Feature) -> tuple[str, Any] | tuple[str, Any, None]:
    wire_type = _wire_type(feature)
    if feature.nullable:
        wire_type = wire_type | None
    return (feature.name, wire_type) if feature.required else (feature.name, wire_type, None)


def _wire_type(feature: Feature) -> Any:
    if feature.kind == "flag":
        return bool
    if feature.kind == "number":
        if feature.integer:
            return Annotated[int, Meta(ge=int(feature.minimum), le=int(feature.maximum))]
        return Annotated[float, Meta(ge=feature.minimum, le=feature.maximum)]
    if feature.closed:
        return Literal[feature.categories]
    return Annotated[str, Meta(min_length=1, max_length=feature.max_length)]


def _example_of(feature: Feature) -> Any:
    """The portfolio's own, else a value that keeps the feature's rule."""
    if feature.example is not None or feature.nullable:
        return feature.example
    if feature.kind == "flag":
        return False
    if feature.kind == "number":
        return int(feature.minimum) if feature.integer else float(feature.minimum)
    return feature.categories[0] if feature.closed else "x"


def _stored_type(feature: Feature) -> Any:
    if feature.kind == "flag":
        return bool | None
    if feature.kind == "number":
        return (int if feature.integer else float) | None
    return str | None


def _property(feature: Feature) -> dict[str, Any]:
    facts: dict[str, Any] = {"description": feature.description + (f" ({feature.unit})" if feature.unit else "")}
    if feature.example is not None:
        facts["examples"] = [feature.example]
    json_type = {"flag": "boolean", "number": "integer" if feature.integer else "number", "category": "string"}
    facts["type"] = [json_type[feature.kind], "null"] if feature.nullable else json_type[feature.kind]
    if feature.kind == "number":
        bound = int if feature.integer else float
        facts |= {"minimum": bound(feature.minimum), "maximum": bound(feature.maximum)}
    elif feature.closed:
        facts["enum"] = [*feature.categories, *([None] if feature.nullable else [])]
    elif feature.kind == "category":
        facts |= {"minLength": 1, "maxLength": feature.max_length, "pattern": NO_NUL}
    return facts
