from datetime import UTC, datetime
from uuid import UUID

import pytest
from loanloop_common.errors import InvalidField
from loanloop_ingest.domain.loan_changes import loan_changes, missing_counts
from loanloop_ingest.domain.messages import Incoming

from tests.support.arrivals import NOW, READER, make_record, read
from tests.support.loans import make_loan
from tests.support.outcomes import make_outcome

HISTORY = {"defaulted": True, "known_at": "2007-09-01T00:00:00Z"}


def events(*said: dict[str, object]) -> list[Incoming]:
    return [read(make_record(event, offset)) for offset, event in enumerate(said)]


def test_changes_come_by_loan_id_and_one_for_each_loan() -> None:
    changes = loan_changes(events(make_loan(2), make_outcome(1), make_loan(1), make_outcome(2)))
    assert [change.loan_id for change in changes] == ["loan-1", "loan-2"]
    assert all(change.loan and change.outcome for change in changes)


def test_first_loan_event_gives_the_features() -> None:
    first, second = events(make_loan(1), make_loan(1, event_id=make_loan(2)["event_id"]))
    (change,) = loan_changes([first, second])
    assert change.loan_event_id == first.event_id


def test_newest_correction_gives_the_label_in_any_order() -> None:
    corrections = [make_outcome(1, correction=n) for n in range(3)]
    for order in (corrections, corrections[::-1]):
        (change,) = loan_changes(events(*order))
        assert str(change.outcome_event_id) == corrections[2]["event_id"]


def test_of_corrections_of_one_moment_and_one_day_the_greater_id_holds() -> None:
    same = [make_outcome(1, correction=n, occurred_at="2008-01-01T00:00:00Z") for n in range(2)]
    for order in (same, same[::-1]):
        (change,) = loan_changes(events(*order))
        assert str(change.outcome_event_id) == max(outcome["event_id"] for outcome in same)


@pytest.mark.parametrize("ids", [(1, 2), (2, 1)])
def test_of_outcomes_within_loans_of_history_the_one_known_later_holds(ids: tuple[int, int]) -> None:
    """A file that is exported again: each event says the date of the application."""
    exported, again = (
        make_loan(1, event_id=str(UUID(int=event_id)), outcome=HISTORY | {"known_at": known_at})
        for event_id, known_at in zip(ids, ("2007-09-01T00:00:00Z", "2007-09-02T00:00:00Z"), strict=True)
    )
    for order in ([exported, again], [again, exported]):
        (change,) = loan_changes(events(*order))
        assert str(change.outcome_event_id) == again["event_id"]


@pytest.mark.parametrize("ids", [(1, 2), (2, 1)])
def test_correction_said_later_holds_though_it_tells_of_an_earlier_day(ids: tuple[int, int]) -> None:
    first = make_outcome(1, event_id=str(UUID(int=ids[0])))
    mended = make_outcome(1, event_id=str(UUID(int=ids[1])), correction=1, known_at="2007-12-01T00:00:00Z")
    for order in ([first, mended], [mended, first]):
        (change,) = loan_changes(events(*order))
        assert str(change.outcome_event_id) == mended["event_id"]


def test_outcome_inside_a_loan_counts_as_one_of_that_event() -> None:
    (history,) = events(make_loan(1, outcome=HISTORY))
    (change,) = loan_changes([history])
    assert change.outcome_event_id == change.loan_event_id == history.event_id
    assert change.outcome is not None
    assert change.outcome.known_at == datetime(2007, 9, 1, tzinfo=UTC)
    assert change.loan is not None
    assert change.loan.is_history


def test_loan_matures_by_the_policy() -> None:
    (loan,) = events(make_loan(1))
    assert loan.loan is not None
    assert loan.loan.matured_at == datetime(2007, 6, 19, tzinfo=UTC)


def test_missing_values_are_counted_by_field() -> None:
    features = make_loan(1)["features"]
    loans = events(
        make_loan(1, features=features | {"state": None, "urban_rural": None}),
        make_loan(2, features=features | {"state": None, "urban_rural": "urban"}),
        make_outcome(1),
    )
    counts = {count.field: (count.n_loans, count.n_missing) for count in missing_counts(READER.fields, loans)}
    assert counts["state"] == (2, 2)
    assert counts["urban_rural"] == (2, 1)
    assert counts["employees"] == (2, 0)


def test_outcomes_alone_count_no_missing_values() -> None:
    assert missing_counts(READER.fields, events(make_outcome(1))) == []


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (make_loan(1, occurred_at="2026-01-01T00:05:01Z"), "occurred_at"),
        (make_loan(1, outcome=HISTORY | {"known_at": "2026-02-01T00:00:00Z"}), "outcome.known_at"),
        (make_outcome(1, known_at="2026-01-02T00:00:00Z"), "known_at"),
        (make_outcome(1, occurred_at="2026-01-02T00:00:00Z"), "occurred_at"),
    ],
)
def test_date_in_the_future_is_refused(event: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField, match="in the future") as refused:
        read(make_record(event, 0), NOW)
    assert refused.value.field == field


def test_clock_that_runs_five_minutes_fast_is_borne_with() -> None:
    assert read(make_record(make_loan(1, occurred_at="2026-01-01T00:05:00Z"), 0), NOW).loan_id == "loan-1"
