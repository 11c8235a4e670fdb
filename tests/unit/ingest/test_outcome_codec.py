import json
from datetime import timedelta

import pytest
from loanloop_common.errors import InvalidField, InvalidMessage
from loanloop_ingest.domain.outcome_codec import OutcomeCodec

from tests.support.outcomes import make_outcome

CODEC = OutcomeCodec()


def encoded(**overrides: object) -> bytes:
    return json.dumps(make_outcome(1) | overrides).encode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", "seven"),
        ("occurred_at", "2008-01-01T00:00:00"),
        ("schema_version", 2),
        ("loan_id", ""),
        ("loan_id", "a\0b"),
        ("defaulted", "yes"),
        ("defaulted", None),
        ("known_at", "1899-12-31T23:59:59Z"),
        ("known_at", "9999-01-01T00:00:00Z"),
        ("known_at", 20080101),
    ],
)
def test_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidField) as refused:
        CODEC.decode(encoded(**{field: value}))
    assert refused.value.field == field


@pytest.mark.parametrize("field", ["event_id", "occurred_at", "schema_version", "loan_id", "defaulted", "known_at"])
def test_missing_field_is_refused_by_name(field: str) -> None:
    outcome = make_outcome(1)
    del outcome[field]
    with pytest.raises(InvalidField, match=f"{field} = None: is missing; it must be"):
        CODEC.decode(json.dumps(outcome).encode())


def test_a_nul_in_a_field_nobody_knows_is_ignored_with_the_field() -> None:
    assert CODEC.decode(encoded(note="\0")) == CODEC.decode(encoded())


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert CODEC.decode(encoded(loan_id="a\\u0000b")).loan_id == "a\\u0000b"


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b"7", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidMessage):
        CODEC.decode(data)


def test_hash_does_not_depend_on_key_order_unknown_fields_or_zone() -> None:
    plain = CODEC.decode(encoded())
    turned = dict(reversed(make_outcome(1).items())) | {"known_at": "2007-12-20T02:00:00+02:00", "note": "x"}
    assert CODEC.payload_hash(CODEC.decode(json.dumps(turned).encode())) == CODEC.payload_hash(plain)


def test_hash_depends_on_everything_that_is_said() -> None:
    plain = CODEC.decode(encoded())
    later = (plain.known_at + timedelta(microseconds=1)).isoformat()
    for other in ({"defaulted": False}, {"loan_id": "b"}, {"known_at": later}, {"occurred_at": later}):
        assert CODEC.payload_hash(CODEC.decode(encoded(**other))) != CODEC.payload_hash(plain)
