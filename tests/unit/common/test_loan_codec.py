"""The wire form of loans: what is accepted, what is refused, and in which words."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import msgspec
import pytest
from loanloop_common.errors import InvalidField, InvalidMessage
from loanloop_common.loan_codec import LoanCodec, check_dates
from loanloop_common.portfolio import Feature
from loanloop_common.portfolio_file import load_portfolio

from tests.support.loans import as_bytes, make_loan

Payload = dict[str, Any]
CODEC = LoanCodec(load_portfolio("sba"))


def payload(**changes: Any) -> Payload:
    return {**CODEC.example(), **changes}


def with_feature(name: str, value: Any) -> Payload:
    return payload(features={**CODEC.example()["features"], name: value})


def without_feature(name: str) -> Payload:
    return payload(features={n: v for n, v in CODEC.example()["features"].items() if n != name})


def encoded(content: Any) -> bytes:
    return json.dumps(content).encode()


def test_the_example_is_valid_and_survives_a_round_trip() -> None:
    loan = CODEC.decode(encoded(CODEC.example()))

    assert loan.features.employees == 4
    assert CODEC.decode(CODEC.encode(loan)) == loan
    assert msgspec.structs.astuple(CODEC.decode_features(CODEC.encode_features(loan))) == msgspec.structs.astuple(
        loan.features
    )


def test_what_was_left_out_is_left_out_on_the_wire_and_where_it_is_stored() -> None:
    """REST publishes what it decided: a null in place of nothing would be refused, and the loan lost to ingest."""
    loan = CODEC.decode(encoded(without_feature("term_months")))

    assert CODEC.decode(CODEC.encode(loan)) == loan
    assert "term_months" not in msgspec.json.decode(CODEC.encode_features(loan))
    assert CODEC.payload_hash(CODEC.decode(CODEC.encode(loan))) == CODEC.payload_hash(loan)


def test_unknown_fields_are_ignored_everywhere() -> None:
    noisy = with_feature("colour", "red") | {"trace": {"id": 1}}

    assert CODEC.decode(encoded(noisy)) == CODEC.decode(encoded(payload()))


def test_what_may_be_missing_is_none() -> None:
    assert CODEC.decode(encoded(with_feature("state", None))).features.state is None
    assert CODEC.decode(encoded(without_feature("term_months"))).features.term_months is None


@pytest.mark.parametrize(
    ("sent", "field", "value", "rule"),
    [
        (with_feature("employees", "four"), "features.employees", "four", "whole number from 0 to 100000"),
        (with_feature("employees", 4.5), "features.employees", 4.5, "whole number"),
        (with_feature("employees", -1), "features.employees", -1, "from 0"),
        (with_feature("employees", True), "features.employees", True, "whole number"),
        (with_feature("employees", None), "features.employees", None, "whole number"),
        (without_feature("employees"), "features.employees", None, "is missing"),
        (with_feature("business_age", "old"), "features.business_age", "old", "one of existing, new, or null"),
        (with_feature("naics", "1234567"), "features.naics", "1234567", "1 to 6 characters"),
        (with_feature("naics", ""), "features.naics", "", "1 to 6 characters"),
        (with_feature("state", "C\0"), "features.state", "C\0", "NUL"),
        (with_feature("franchise", 1), "features.franchise", 1, "true or false"),
        (payload(event_id="17"), "event_id", "17", "UUID"),
        (payload(loan_id=""), "loan_id", "", "1 to 64 characters"),
        (payload(loan_id="a\0b"), "loan_id", "a\0b", "NUL"),
        (payload(loan_id="x" * 65), "loan_id", "x" * 65, "1 to 64 characters"),
        (payload(schema_version=2), "schema_version", 2, "must be 1"),
        (payload(occurred_at="2005-05-20"), "occurred_at", "2005-05-20", "with its zone"),
        (payload(occurred_at="2005-05-20T00:00:00"), "occurred_at", "2005-05-20T00:00:00", "with its zone"),
        (payload(occurred_at="10000-01-01T00:00:00Z"), "occurred_at", "10000-01-01T00:00:00Z", "with its zone"),
        (payload(occurred_at="0001-01-01T00:00:00+05:00"), "occurred_at", "0001-01-01T00:00:00+05:00", "1900"),
        (payload(features=[]), "features", [], "object"),
        (payload(outcome={"defaulted": True}), "outcome.known_at", None, "is missing"),
        (
            payload(outcome={"defaulted": 1, "known_at": "2006-01-01T00:00:00Z"}),
            "outcome.defaulted",
            1,
            "true or false",
        ),
        (payload(outcome=3), "outcome", 3, "object"),
    ],
)
def test_a_refusal_names_field_value_and_rule(sent: Payload, field: str, value: Any, rule: str) -> None:
    with pytest.raises(InvalidField) as refused:
        CODEC.decode(encoded(sent))

    assert (refused.value.field, refused.value.value) == (field, value)
    assert rule in refused.value.rule


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"[]",
        b"17",
        encoded(payload()).replace(b"150000.0", b"NaN"),
        encoded(payload()).replace(b"150000.0", b"1e999"),
        encoded(payload()).replace(b'"CA"', b'"\x00"'),
        encoded(payload()).replace(b'"CA"', b'"\\ud800"'),
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(sent: bytes) -> None:
    with pytest.raises(InvalidMessage):
        CODEC.decode(sent)


def test_a_nul_in_a_field_nobody_knows_is_ignored_with_the_field() -> None:
    noisy = with_feature("colo\0ur", "re\0d") | {"note": {"lines": ["fine", "\0"]}}

    assert CODEC.decode(encoded(noisy)) == CODEC.decode(encoded(payload()))


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert CODEC.decode(encoded(with_feature("bank", "a\\u0000b"))).features.bank == "a\\u0000b"


def test_a_payload_parsed_elsewhere_obeys_the_same_rules() -> None:
    assert CODEC.convert(payload()) == CODEC.decode(encoded(payload()))
    with pytest.raises(InvalidField, match="employees"):
        CODEC.convert(with_feature("employees", -1))


SAME: list[Callable[[Payload], bytes]] = [
    lambda p: json.dumps(dict(reversed(p.items())), indent=2).encode(),
    lambda p: encoded(p | {"occurred_at": "2005-05-20T02:00:00+02:00"}),
    lambda p: encoded(p | {"unknown": 1}),
    lambda p: encoded(p | {"outcome": None}),
    lambda p: encoded(p).replace(b"150000.0", b"150000"),
]


@pytest.mark.parametrize("rewritten", SAME)
def test_the_same_loan_written_differently_has_the_same_hash(rewritten: Callable[[Payload], bytes]) -> None:
    original = CODEC.payload_hash(CODEC.decode(encoded(payload())))

    assert CODEC.payload_hash(CODEC.decode(rewritten(payload()))) == original


@pytest.mark.parametrize(
    "changed",
    [
        with_feature("employees", 5),
        with_feature("state", None),
        payload(loan_id="other"),
        payload(occurred_at="2005-05-21T00:00:00Z"),
        payload(outcome={"defaulted": True, "known_at": "2006-01-01T00:00:00Z"}),
    ],
)
def test_another_loan_has_another_hash(changed: Payload) -> None:
    original = CODEC.payload_hash(CODEC.decode(encoded(payload())))

    assert CODEC.payload_hash(CODEC.decode(encoded(changed))) != original


def test_an_optional_feature_added_to_the_portfolio_changes_no_hash() -> None:
    portfolio = load_portfolio("sba")
    added = Feature(name="a_first_one", kind="number", required=False, nullable=True)
    wider = LoanCodec(portfolio.model_copy(update={"features": {"a_first_one": added, **portfolio.features}}))
    sent_before = [payload(), with_feature("state", None)]

    for loan in map(encoded, sent_before):
        assert wider.payload_hash(wider.decode(loan)) == CODEC.payload_hash(CODEC.decode(loan))
    saying_it = encoded(with_feature("a_first_one", 1))
    assert wider.payload_hash(wider.decode(saying_it)) != CODEC.payload_hash(CODEC.decode(saying_it))


def test_a_date_in_the_future_is_refused_beyond_five_minutes() -> None:
    now = datetime(2020, 1, 1, tzinfo=UTC)
    in_time = CODEC.decode(encoded(payload(occurred_at=(now + timedelta(minutes=5)).isoformat())))
    late = CODEC.decode(encoded(payload(occurred_at=(now + timedelta(minutes=6)).isoformat())))
    outcome = {"defaulted": False, "known_at": (now + timedelta(days=1)).isoformat()}

    check_dates(in_time, now)
    with pytest.raises(InvalidField, match="occurred_at"):
        check_dates(late, now)
    with pytest.raises(InvalidField, match=r"outcome\.known_at"):
        check_dates(CODEC.decode(encoded(payload(outcome=outcome))), now)


def test_the_json_schema_agrees_with_the_decoder() -> None:
    schema = jsonschema.Draft202012Validator(CODEC.json_schema())

    assert schema.is_valid(CODEC.example()["features"])
    for name, value in (("employees", -1), ("business_age", "old"), ("naics", "1234567"), ("franchise", "no")):
        assert not schema.is_valid(with_feature(name, value)["features"])
    assert not schema.is_valid(without_feature("employees")["features"])


def nested_by(depth: int) -> bytes:
    return encoded(payload())[:-1] + b', "x": ' + b"[" * depth + b'"[[[\\""' + b"]" * depth + b"}"


def test_a_message_may_be_a_hundred_levels_deep_and_wide_without_end() -> None:
    plain = CODEC.decode(encoded(payload()))
    wide = encoded(payload())[:-1] + b', "x": [' + b"[], " * 5000 + b"{}]}"
    assert CODEC.decode(nested_by(99)) == CODEC.decode(wide) == plain


@pytest.mark.parametrize("depth", [100, 500, 988, 990, 1100, 100_000])
def test_a_deeper_message_is_refused_wherever_it_is_read(depth: int) -> None:
    """By one limit: Python's own depends on the caller, so that one service would take what another refuses."""
    with pytest.raises(InvalidMessage, match="nested too deeply, more than 100 levels"):
        CODEC.decode(nested_by(depth))


def test_stored_features_stay_readable_when_a_rule_is_narrowed() -> None:
    features = payload()["features"] | {"employees": 10**8, "state": "x" * 99}
    del features["naics"]

    read = CODEC.decode_features(encoded(features))

    assert (read.employees, read.naics) == (10**8, None)


def test_a_portfolio_without_examples_has_an_example_that_keeps_its_rules() -> None:
    portfolio = load_portfolio("sba")
    bare = {name: f.model_copy(update={"example": None, "nullable": False}) for name, f in portfolio.features.items()}
    codec = LoanCodec(portfolio.model_copy(update={"features": bare}))

    assert codec.decode(encoded(codec.example())).loan_id


def test_whole_number_with_a_point_is_that_number_and_the_same_loan() -> None:
    loan = make_loan(1)
    with_points = loan | {"features": loan["features"] | {"employees": 4.0, "term_months": 84.0}}
    plain = loan | {"features": loan["features"] | {"employees": 4, "term_months": 84}}

    decoded = CODEC.decode(as_bytes(with_points))
    assert (decoded.features.employees, type(decoded.features.employees)) == (4, int)
    assert CODEC.payload_hash(decoded) == CODEC.payload_hash(CODEC.decode(as_bytes(plain)))


@pytest.mark.parametrize("employees", [4.5, 1e300, -1.0, "4.0"])
def test_what_is_no_whole_number_in_range_is_refused_by_its_name(employees: object) -> None:
    loan = make_loan(1)
    loan["features"] |= {"employees": employees, "term_months": 84.0}
    with pytest.raises(InvalidField) as refused:
        CODEC.decode(as_bytes(loan))
    assert (refused.value.field, refused.value.value) == ("features.employees", employees)
