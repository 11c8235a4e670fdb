"""A batch read loan by loan, beside one that is parsed as a whole."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from loanloop_common.errors import InvalidField, InvalidMessage
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_predictor.api.batches import Read, read_batch
from loanloop_predictor.api.body import NotJson, parsed, refuse_unholdable
from loanloop_predictor.api.errors import detail_of
from loanloop_predictor.domain.incoming import IncomingLoan, read_requested
from loanloop_predictor.domain.plain_requests import PlainRequests, loans_apart

from tests.support.loans import as_bytes, make_features, make_loan
from tests.support.odd_loans import odder_loans
from tests.unit.predictor.test_incoming import NOW

CODEC = LoanCodec(load_portfolio("sba"))
PLAIN = PlainRequests(CODEC)
MAX_LOANS = 4
LOAN = as_bytes({"loan_id": "a", "features": make_features(1)})
FORMS = (
    *(
        b"%s",
        b' {"loans":\n%s} ',
        b'{"loans": [], "loans": %s}',
        b'{"loans": %s, "loans": null}',
        b"%s]",
        b'{"Loans": %s}',
    ),
    *(b'{"more": 1e400, "loans": %s}', b'{"lo\\u0061ns": %s}', b'{"loans": %s, "more": "\xff"}'),
)
ODD = as_bytes({"loan_id": "a", "features": make_features(1) | {"more": 1}})


class Reader:
    """Counts the loans that were read from JSON which somebody had parsed."""

    def __init__(self) -> None:
        self.n_from_json = 0

    def from_bytes(self, loan: bytes) -> IncomingLoan:
        return PLAIN.read(loan, make_id=lambda: UUID(int=7), now=NOW) or self.from_json(*parsed(loan))

    def from_json(self, loan: Any, is_holdable: bool = False) -> IncomingLoan:
        self.n_from_json += 1
        if not is_holdable:
            refuse_unholdable(loan)
        return read_requested(CODEC, loan, event_id=UUID(int=7), now=NOW)

    def read(self, body: bytes) -> list[Read]:
        return read_batch(body, from_bytes=self.from_bytes, from_json=self.from_json, max_loans=MAX_LOANS)


def read_as_a_whole(body: bytes) -> list[Read]:
    content, _ = parsed(body)
    loans = content.get("loans") if isinstance(content, dict) else content
    if not isinstance(loans, list) or not loans:
        raise InvalidMessage('the body must be {"loans": [...]} with at least one loan')
    if len(loans) > MAX_LOANS:
        raise InvalidField("loans", f"{len(loans)} loans", f"must be at most {MAX_LOANS}")
    return [_read_one(loan) for loan in loans]


def _read_one(loan: Any) -> Read:
    try:
        return Reader().from_json(loan)
    except InvalidMessage as invalid:
        return invalid


def told(read: Callable[[bytes], list[Read]], body: bytes) -> object:
    try:
        return [
            (CODEC.encode(one.loan), one.payload_sha256, one.dated_here, one.ignored_features)
            if isinstance(one, IncomingLoan)
            else detail_of(one)
            for one in read(body)
        ]
    except InvalidMessage as refused:
        return detail_of(refused)


# How fast the machine makes an example says nothing of what is tested.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    loans = b"[" + b" , ".join(draw(st.lists(odder_loans(), max_size=MAX_LOANS + 1))) + b"]"
    return draw(st.sampled_from((FORMS[1], *FORMS))) % loans


@unhurried
@given(bodies())
@example(b'{"loans": [%s, {"loan_id": 1e400}]}' % LOAN)
@example(b'{"loans": [%s, %s}' % (LOAN, LOAN))
@example(b"[%s, %s]" % (LOAN, b"9" * 5000))
@example(b"[%s]" % b",".join([LOAN] * (MAX_LOANS + 1)))
def test_a_batch_read_loan_by_loan_says_what_it_says_as_a_whole(body: bytes) -> None:
    assert told(Reader().read, body) == told(read_as_a_whole, body)


@unhurried
@given(odder_loans())
@example(b'"\\udc00"')
@example(b'{"\xed\xa0\x80": 1}')
@example(b"1.7976931348623159e308")
def test_what_is_said_to_be_holdable_is(body: bytes) -> None:
    try:
        content, is_holdable = parsed(body)
    except NotJson:
        return
    if is_holdable:
        refuse_unholdable(content)
    else:
        with pytest.raises(InvalidField):
            refuse_unholdable(content)


def test_saying_where_a_value_lies_holds_a_long_name_once_and_not_at_each_level() -> None:
    name, depth = "a" * 1_000_000, 500
    content, _ = parsed(b'{"%s":%s1e400%s}' % (name.encode(), b'{"b":' * depth, b"}" * depth))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidField) as refused:
            refuse_unholdable(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert refused.value.field == ".".join([name, *(["b"] * depth)])
    assert peak < 10 * len(name)


@pytest.mark.parametrize(
    "odd",
    [b"3", ODD, as_bytes(make_loan(1, loan_id="a\0")), b'{"loan_id": "\xff"}', b'{"loan_id": "\\ud800"}', b"1e400"],
)
def test_only_the_loan_that_needs_a_closer_look_is_parsed(odd: bytes) -> None:
    reader = Reader()
    read = reader.read(b'{"loans": [%s, %s, %s]}' % (LOAN, odd, LOAN))
    assert (reader.n_from_json, len(read)) == (1 if b"ud800" not in odd else 3, 3)


def test_loans_are_taken_apart_without_being_looked_into() -> None:
    body = b' {"loans": [ {"a": [1, 2]} ,3, "\xff" ]}'
    assert loans_apart(body) == [b'{"a": [1, 2]}', b"3", b'"\xff"']
    assert loans_apart(b"[%s]" % LOAN) == [LOAN]
    assert loans_apart(json.dumps({"loans": [1], "more": 1}).encode()) is None
