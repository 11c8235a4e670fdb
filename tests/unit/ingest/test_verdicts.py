from typing import Any

from loanloop_ingest.domain.messages import Incoming
from loanloop_ingest.domain.verdicts import KnownEvent, Verdicts, firsts, sort_out

from tests.support.arrivals import make_record, read
from tests.support.loans import make_loan

NONE: dict[Any, KnownEvent] = {}


def event(number: int, offset: int, **overrides: Any) -> Incoming:
    return read(make_record(make_loan(number, **overrides), offset))


def judged(*events: Incoming, stored: dict[Any, KnownEvent] = NONE) -> Verdicts:
    claimed = {i: e for i, e in firsts(events).items() if i not in stored}
    return sort_out(events, claimed, stored)


def known(stored: Incoming) -> dict[Any, KnownEvent]:
    return {stored.event_id: KnownEvent(stored.payload_sha256, stored.place)}


def test_first_of_an_id_in_a_batch_wins() -> None:
    first, again, other = event(1, 0), event(1, 1), event(1, 2, loan_id="other")
    assert judged(first, again, other) == Verdicts(fresh=[first], duplicates=[again], conflicts=[other])


def test_delivery_of_the_stored_place_is_no_duplicate() -> None:
    stored = event(1, 7)
    assert judged(stored, stored=known(stored)) == Verdicts()


def test_same_event_from_another_place_is_a_duplicate() -> None:
    again = event(1, 8)
    assert judged(again, stored=known(event(1, 7))) == Verdicts(duplicates=[again])


def test_other_payload_under_a_stored_id_is_a_conflict() -> None:
    other = event(1, 8, occurred_at="2007-05-21T00:00:00Z")
    assert judged(other, stored=known(event(1, 7))) == Verdicts(conflicts=[other])


def test_other_payload_at_the_stored_place_of_a_topic_made_anew_is_a_conflict() -> None:
    other = event(1, 7, occurred_at="2007-05-21T00:00:00Z")
    assert judged(other, stored=known(event(1, 7))) == Verdicts(conflicts=[other])


def test_one_bad_id_leaves_the_others_alone() -> None:
    taken, fresh = event(1, 3, loan_id="other"), event(2, 4)
    verdicts = judged(taken, fresh, stored=known(event(1, 0)))
    assert verdicts == Verdicts(fresh=[fresh], conflicts=[taken])
