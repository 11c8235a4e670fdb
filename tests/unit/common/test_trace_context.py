"""The traceparent of the W3C: what is one, and what of it goes on."""

import pytest
from loanloop_common.trace_context import (
    each_traceparent,
    headers_with,
    is_sampled,
    read_traceparent,
    trace_id_of,
    traceparent_of_request,
    traceparents_of,
)

from tests.support.records import make_record

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True)])
def test_it_says_which_trace_and_whether_somebody_wants_to_see_it(flags: str, sampled: bool) -> None:
    read = read_traceparent(f"00-{TRACE}-{SPAN}-{flags}".encode())
    assert read is not None
    assert (trace_id_of(read), is_sampled(read)) == (TRACE, sampled)


def test_a_later_version_is_passed_on_as_this_one() -> None:
    assert read_traceparent(f"01-{TRACE}-{SPAN}-01-what-will-be".encode()) == GOOD
    assert read_traceparent(f"cc-{TRACE}-{SPAN}-01".encode()) == GOOD


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        GOOD.upper().encode(),
        f"{GOOD}-more".encode(),
        f"01-{TRACE}-{SPAN}-01more".encode(),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{0:032x}-{SPAN}-01".encode(),
        f"00-{TRACE}-{0:016x}-01".encode(),
        f"00-{TRACE}-{SPAN}".encode(),
        f"{GOOD}\n".encode(),
        b"\xff" * 55,
        f"01-{TRACE}-{SPAN}-01-".encode() + b"x" * 100_000,
    ],
)
def test_what_is_none_is_passed_over(value: bytes | None) -> None:
    assert read_traceparent(value) is None


def test_of_a_batch_those_that_have_one_are_told_by_their_places() -> None:
    other = [("tenant", b"a")]
    records = [
        make_record(),
        make_record(headers=[*other, *headers_with(GOOD)]),
        make_record(headers=other),
        make_record(headers=[("traceparent", b"nonsense")]),
        make_record(headers=[*headers_with(GOOD), ("traceparent", f"00-{TRACE}-{SPAN}-00".encode())]),
    ]
    assert traceparents_of(records) == {1: GOOD, 4: GOOD}
    assert list(each_traceparent(records)) == [GOOD, GOOD]
    assert traceparents_of([make_record(), make_record()]) == {}


def test_a_request_has_it_among_its_headers() -> None:
    assert traceparent_of_request([(b"host", b"x"), (b"traceparent", f" {GOOD} ".encode())]) == GOOD
    assert traceparent_of_request([(b"host", b"x")]) is None
