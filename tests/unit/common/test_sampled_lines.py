"""Lines about single messages: their ids, and a bound."""

from typing import Any

import pytest
from loanloop_common.sampled_lines import Facts, FollowedLines, ids_of
from structlog.testing import capture_logs

from tests.support.records import make_record

EVENT_ID = "0b9d5f5e-6f0e-4c1c-9d0e-2f6f0a3f1c01"
TRACED = [("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")]


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (b'{"event_id": "%b", "loan_id": 7}' % EVENT_ID.encode(), {"event_id": EVENT_ID}),
        (b'{"event_id": "a secret"}', {}),
        (b"{", {}),
        (b"\xff", {}),
        (b'{"a":' * 100_000, {}),
        (None, {}),
    ],
)
def test_a_message_is_known_by_what_it_has(value: bytes | None, ids: dict[str, str]) -> None:
    assert ids_of(make_record(value)) == ids
    assert ids_of(make_record(value, headers=TRACED)) == ids | {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}


def told(lines: FollowedLines, n: int) -> list[Any]:
    with capture_logs() as said:
        lines.tell("event_stored", range(n), lambda number: {"offset": number})
    return [(line["offset"], line.get("others_unsaid")) for line in said]


def test_no_more_than_so_many_are_said_in_a_second_and_the_next_line_counts_the_others() -> None:
    now = 0.0
    lines = FollowedLines(per_s=2, clock=lambda: now)
    assert told(lines, 5) == [(0, None), (1, None)]
    now = 0.9
    assert told(lines, 1) == []
    now = 1.0
    assert told(lines, 2) == [(0, 4), (1, None)]


def test_nothing_is_made_for_a_line_that_is_not_said() -> None:
    made = []

    def facts_of(number: int) -> Facts:
        made.append(number)
        return {}

    FollowedLines(per_s=2, clock=lambda: 0.0).tell("event_stored", range(5), facts_of)
    FollowedLines(per_s=0).tell("event_stored", range(5), facts_of)
    assert made == [0, 1]


def test_none_are_said_where_none_are_wanted() -> None:
    assert told(FollowedLines(per_s=0), 3) == []
