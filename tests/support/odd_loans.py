"""Loans by REST as anybody may send them, for Hypothesis: most have something odd, as JSON can say it or not."""

import json
from uuid import UUID

from hypothesis import strategies as st

from tests.support.loans import make_features

_FEATURES = make_features(1)
_VALUES = st.one_of(st.none(), st.integers(-5, 10**20), st.floats(), st.booleans(), st.text(max_size=3))
_CHANGES = st.dictionaries(st.sampled_from([*sorted(_FEATURES), "more"]), _VALUES, max_size=3)
_ENVELOPES = st.fixed_dictionaries(
    {"loan_id": st.text(max_size=66)},
    optional={
        "event_id": st.sampled_from([None, str(UUID(int=9)), UUID(int=9).hex, "no", 3]),
        "occurred_at": st.sampled_from(
            [
                *(None, "2005-05-20T00:00:00+02:00", "2005-05-20", "0001-01-01T00:00:00Z", 5),
                *("2020-01-01T00:00:59Z", "2020-01-01T00:02:00Z", "2020-01-01T00:06:00Z"),
            ]
        ),
        "schema_version": st.sampled_from([None, 1, 1.0, 2, "1"]),
        "outcome": st.sampled_from([None, {}, {"defaulted": True}]),
        "unknown": st.none(),
    },
)
_NO_LOANS = (b"3", b"null", b'"loan"', b"[]", b"{}", b'{"loan_id": "a"}', b"{", b"tru", b'{"loan_id": "a",}')
_NO_JSON = (
    *(b"1e400", b"-1e400", b"NaN", b"Infinity", b'"\\ud800"', b'"\xff"', b'"\\q"', b"01", b"9" * 5000),
    *(b'"\\u0000"', b'"\\\\u0000"', b'"\x00"', b"123456789012345678901234567890", b"[" * 150 + b"]" * 150),
)


@st.composite
def odd_loans(draw: st.DrawFn) -> bytes:
    """A JSON object of a loan, nearly."""
    return json.dumps(draw(_ENVELOPES) | {"features": _FEATURES | draw(_CHANGES)}).encode()


@st.composite
def odder_loans(draw: st.DrawFn) -> bytes:
    """As `odd_loans`, with something that is no loan, or a value somewhere in it that JSON or a number can't hold."""
    loan: bytes = draw(odd_loans())
    kind = draw(st.sampled_from(["good", "odd", "no loan", "no JSON in a feature", "no JSON beside"]))
    if kind == "odd":
        return loan
    if kind == "no loan":
        loan = draw(st.sampled_from(_NO_LOANS + _NO_JSON))
        return loan
    good = json.dumps({"loan_id": "a", "features": _FEATURES | {"naics": "HERE"}}).encode()
    if kind == "no JSON in a feature":
        return good.replace(b'"HERE"', draw(st.sampled_from(_NO_JSON)))
    if kind == "no JSON beside":
        return good.replace(b'"loan_id"', b'"beside": %s, "loan_id"' % draw(st.sampled_from(_NO_JSON)))
    return good
