"""What is read of a stream's batch and of a request."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from loanloop_common.errors import InvalidField, InvalidMessage
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_predictor.domain.incoming import hash_if_dated, read_requested, read_streamed
from loanloop_predictor.domain.plain_requests import PlainRequests

from tests.support.loans import as_bytes, make_features, make_loan
from tests.support.odd_loans import odd_loans

NOW = datetime(2020, 1, 1, tzinfo=UTC)
CODEC = LoanCodec(load_portfolio("sba"))
PLAIN = PlainRequests(CODEC)


def test_one_bad_record_fails_no_other() -> None:
    history = make_loan(3, outcome={"defaulted": False, "known_at": "2008-01-01T00:00:00Z"})
    values = [as_bytes(make_loan(1)), b"{", None, as_bytes(history), as_bytes(make_loan(2))]
    read = read_streamed(CODEC, [(value, NOW) for value in values])
    assert [one.loan.loan_id for one in read.to_decide] == ["loan-1", "loan-2"]
    assert (read.n_invalid, read.n_history) == (2, 1)
    assert read.places == [0, 4]


def test_what_is_decided_already_is_passed_over_and_the_others_keep_their_places() -> None:
    values = [as_bytes(make_loan(number)) for number in range(3)]
    read = read_streamed(CODEC, [(value, NOW) for value in values], is_decided=lambda value: value == values[1])
    assert [one.loan.loan_id for one in read.to_decide] == ["loan-0", "loan-2"]
    assert read.places == [0, 2]


def test_a_loan_goes_on_with_what_came_with_its_first_message() -> None:
    loans = [as_bytes(make_loan(number)) for number in (1, 2, 1, 2, 3)]
    read = read_streamed(CODEC, [(loan, NOW) for loan in [b"{", *loans]])
    untraced, traced = (read.to_decide[place].loan.event_id for place in (0, 1))
    assert read.by_event({0: "of a bad one", 2: "first", 3: "second of the untraced", 4: "second"}) == {traced: "first"}
    assert untraced not in read.by_event({3: "second of the untraced"})
    assert read.by_event({}) == {}


def test_request_and_event_of_the_same_loan_have_the_same_hash() -> None:
    loan = make_loan(1)
    streamed = read_streamed(CODEC, [(as_bytes(loan), NOW)]).to_decide[0]
    assert read_requested(CODEC, loan, event_id=UUID(int=1), now=NOW) == streamed


def test_what_a_request_leaves_out_is_given_here() -> None:
    body = {"loan_id": "a", "features": make_features(1), "event_id": None}
    read = read_requested(CODEC, body, event_id=UUID(int=7), now=NOW)
    assert (read.loan.event_id, read.loan.occurred_at) == (UUID(int=7), NOW)


def test_undated_request_sent_again_is_the_same_payload() -> None:
    body = {"loan_id": "a", "features": make_features(1), "event_id": str(UUID(int=7))}
    first = read_requested(CODEC, body, event_id=UUID(int=1), now=NOW)
    again = read_requested(CODEC, body, event_id=UUID(int=2), now=NOW + timedelta(hours=1))
    assert again.payload_sha256 != first.payload_sha256
    assert hash_if_dated(CODEC, again, first.loan.occurred_at) == first.payload_sha256


def test_dated_request_with_another_date_is_another_payload() -> None:
    first = read_requested(CODEC, make_loan(1), event_id=UUID(int=1), now=NOW)
    moved = make_loan(1, occurred_at="2007-05-21T00:00:00Z")
    again = read_requested(CODEC, moved, event_id=UUID(int=1), now=NOW)
    assert hash_if_dated(CODEC, again, first.loan.occurred_at) != first.payload_sha256


@pytest.mark.parametrize("body", [[], "loan", None, 3])
def test_request_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(InvalidMessage):
        read_requested(CODEC, body, event_id=UUID(int=1), now=NOW)


def test_request_with_an_outcome_is_refused() -> None:
    with pytest.raises(InvalidField, match="history"):
        read_requested(CODEC, make_loan(1) | {"outcome": {"defaulted": True}}, event_id=UUID(int=1), now=NOW)


def test_loan_dated_in_the_future_is_not_decided() -> None:
    late = make_loan(1, occurred_at="2020-01-01T00:06:00Z")

    assert read_streamed(CODEC, [(as_bytes(late), NOW)]).n_invalid == 1
    with pytest.raises(InvalidField, match=r"occurred_at .* 1 minute in the future"):
        read_requested(CODEC, late, event_id=UUID(int=1), now=NOW)


@pytest.mark.parametrize("ahead", [timedelta(minutes=1), timedelta(minutes=1, seconds=1), timedelta(minutes=4.99)])
def test_a_request_is_decided_only_if_the_stream_takes_it_by_a_clock_that_is_behind(ahead: timedelta) -> None:
    loan = make_loan(1, occurred_at=(NOW + ahead).isoformat())
    brokers = NOW - timedelta(minutes=3)

    def read_long() -> object:
        return read_requested(CODEC, loan, event_id=UUID(int=1), now=NOW)

    def read_short() -> object:
        return PLAIN.read(as_bytes(loan), make_id=lambda: UUID(int=7), now=NOW)

    for read in (read_long, read_short):
        if ahead <= timedelta(minutes=1):
            assert read() is not None
            assert read_streamed(CODEC, [(as_bytes(loan), brokers)]).n_invalid == 0
        else:
            with pytest.raises(InvalidField, match="must not lie more than 1 minute in the future"):
                read()


@given(odd_loans())
def test_the_short_way_reads_what_the_long_way_reads_or_leaves_it(body: bytes) -> None:
    try:
        plain = PLAIN.read(body, make_id=lambda: UUID(int=7), now=NOW)
    except InvalidField as late:
        with pytest.raises(InvalidField, match=re.escape(str(late))):
            read_requested(CODEC, json.loads(body), event_id=UUID(int=7), now=NOW)
        return
    if plain is None:
        return
    long = read_requested(CODEC, json.loads(body), event_id=UUID(int=7), now=NOW)
    assert CODEC.encode(plain.loan) == CODEC.encode(long.loan)
    assert (plain.payload_sha256, plain.dated_here, plain.ignored_features) == (
        long.payload_sha256,
        long.dated_here,
        long.ignored_features,
    )


def test_the_short_way_is_taken_by_a_request_without_fault() -> None:
    for body in (make_loan(1), {"loan_id": "a", "features": make_features(1), "event_id": None}):
        assert PLAIN.read(as_bytes(body), make_id=lambda: UUID(int=7), now=NOW) is not None


@pytest.mark.parametrize(
    "change",
    [{"more": 1}, {"loan_id": "a\0"}, {"occurred_at": "1800-01-01T00:00:00Z"}, {"outcome": {}}, {"features": {}}],
)
def test_the_short_way_leaves_what_must_be_explained(change: dict[str, Any]) -> None:
    assert PLAIN.read(as_bytes(make_loan(1) | change), make_id=lambda: UUID(int=7), now=NOW) is None
