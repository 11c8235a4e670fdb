from datetime import date, timedelta

import pytest
from loanloop_evaluator.domain.breach import BreachRule, Turn, reason_of, turns_of
from loanloop_evaluator.domain.rolling import RollingRule, WindowValue

RULE = BreachRule(below=0.8, days=3)
FIRST = date(2008, 4, 1)
LOW, HIGH, UNSURE, UNKNOWN = (0.70, 0.75), (0.85, 0.90), (0.78, 0.83), (None, None)


def windows(*days: tuple[float | None, float | None]) -> list[WindowValue]:
    return [WindowValue(FIRST + timedelta(days=n), 60, *values) for n, values in enumerate(days)]


def turns(
    made: list[WindowValue], *, closing: range | None = None, is_open: bool = False, not_before: date = FIRST
) -> list[tuple[str, int]]:
    days = [FIRST + timedelta(days=n) for n in (range(len(made)) if closing is None else closing)]
    found = turns_of(made, days, is_open=is_open, not_before=not_before, rule=RULE)
    return [(turn.kind, (turn.at.day - FIRST).days) for turn in found]


def test_three_days_in_a_row_open_a_breach_on_the_third() -> None:
    assert turns(windows(HIGH, LOW, LOW, LOW, LOW)) == [("breach", 3)]


def test_two_days_do_not() -> None:
    assert turns(windows(LOW, LOW, HIGH, LOW, LOW)) == []


def test_a_value_below_with_a_bound_above_the_threshold_does_not_count() -> None:
    assert turns(windows(LOW, LOW, UNSURE, LOW, LOW)) == []


def test_an_unknown_day_breaks_the_row() -> None:
    assert turns(windows(LOW, LOW, UNKNOWN, LOW, LOW)) == []


def test_a_day_without_a_row_breaks_the_row() -> None:
    made = [w for w in windows(LOW, LOW, LOW, LOW, LOW) if w.day != FIRST + timedelta(days=2)]
    assert turns(made, closing=range(5)) == []


def test_one_breach_at_a_time() -> None:
    assert turns(windows(LOW, LOW, LOW, LOW), is_open=True) == []


def test_it_recovers_when_the_value_itself_is_back_for_three_days() -> None:
    assert turns(windows(LOW, LOW, LOW, UNSURE, HIGH, HIGH, HIGH)) == [("breach", 2), ("recovered", 6)]


def test_after_a_recovery_another_breach_can_open() -> None:
    made = windows(HIGH, HIGH, HIGH, LOW, LOW, LOW)
    assert turns(made, is_open=True) == [("recovered", 2), ("breach", 5)]


def test_only_days_that_close_now_open_a_breach() -> None:
    """Older rows below the threshold, as late labels can make them, do nothing until another day closes."""
    made = windows(LOW, LOW, LOW, LOW)
    assert turns(made, closing=range(4, 4)) == []
    assert turns([*made, *windows(LOW, LOW, LOW, LOW, HIGH)[4:]], closing=range(4, 5)) == []


def test_rows_from_before_the_version_went_live_count_for_nothing() -> None:
    assert turns(windows(LOW, LOW, LOW, LOW), not_before=FIRST + timedelta(days=2)) == []


def test_the_reason_says_figure_bound_and_days() -> None:
    turn = Turn("breach", WindowValue(date(2008, 5, 2), 210, 0.7423, 0.7811))
    assert reason_of(turn, RollingRule("f1", 7, 30, 0.9), RULE) == (
        "7-day F1 0.742 on 210 loans, at most 0.781 with 90% confidence: below 0.8 on 3 days in a row, to 2008-05-02"
    )


@pytest.mark.parametrize("metric", ["f1", "roc_auc"])
def test_a_recovery_has_a_reason_as_well(metric: str) -> None:
    turn = Turn("recovered", WindowValue(date(2008, 5, 2), 210, 0.81, 0.84))
    assert "at or above 0.8" in reason_of(turn, RollingRule(metric, 7, 30, 0.9), RULE)
