from datetime import UTC, date, datetime, timedelta, timezone

from loanloop_evaluator.domain.clock import days_between, last_closed_day, spans_of
from loanloop_evaluator.domain.rolling import RollingRule, daily_rows, decided_outcomes

D = date(2008, 3, 10)
RULE = RollingRule("f1", window_days=7, min_outcomes=4, confidence=0.9)
Row = tuple[date, float, bool, bool]


def on(day: date, *, tp: int = 0, fp: int = 0, tn: int = 0, fn: int = 0) -> list[Row]:
    cells = [(tp, 0.9, True), (fp, 0.8, False), (tn, 0.1, False), (fn, 0.2, True)]
    return [(day, p, p >= 0.5, defaulted) for n, p, defaulted in cells for _ in range(n)]


def test_daily_f1_and_pooled_window_equal_those_worked_by_hand() -> None:
    days = [D - timedelta(days=n) for n in range(8)]
    rows = on(days[0], tp=2, fp=1, tn=5) + on(days[1], fn=1, tp=1) + on(days[6], tp=3) + on(days[7], fn=50)

    (row,) = daily_rows("v1", decided_outcomes(rows), [D], RULE)

    assert row.counts.f1 == 2 * 2 / (2 * 2 + 1)
    assert row.window.value == 2 * 6 / (2 * 6 + 1 + 1)  # the eighth day is outside
    assert row.window.n_loans == 8 + 2 + 3
    assert row.metrics["mean_of_days"] == (4 / 5 + 2 / 3 + 1) / 3
    assert (row.window_from, row.window.day) == (days[6], D)


def test_the_order_in_which_outcomes_are_read_changes_nothing() -> None:
    rows = [row for n in range(7) for row in on(D - timedelta(days=n), tp=n, fp=2, tn=3, fn=1)]

    assert daily_rows("v1", decided_outcomes(rows), [D], RULE) == daily_rows(
        "v1", decided_outcomes(rows[::-1]), [D], RULE
    )


def test_too_few_outcomes_are_unknown() -> None:
    (row,) = daily_rows("v1", decided_outcomes(on(D, tp=3)), [D], RULE)

    assert (row.window.value, row.window.upper, row.lower) == (None, None, None)
    assert (row.metrics["state"], row.window.n_loans) == ("unknown", 3)


def test_enough_outcomes_of_which_none_is_a_default_are_unknown_too() -> None:
    (row,) = daily_rows("v1", decided_outcomes(on(D, tn=10)), [D], RULE)

    assert row.window.value is None


def test_a_day_without_outcomes_keeps_the_window_of_the_days_before() -> None:
    rows = daily_rows("v1", decided_outcomes(on(D, tp=5, fn=1)), days_between(D, D + timedelta(days=8)), RULE)

    assert [row.window.n_loans for row in rows] == [6] * 7 + [0, 0]
    assert [row.counts.n for row in rows] == [6] + [0] * 8


def test_by_roc_auc_the_pooled_scores_decide() -> None:
    rows = on(D, tp=5, tn=5) + on(D - timedelta(days=1), fn=5)

    (row,) = daily_rows("v1", decided_outcomes(rows), [D], RollingRule("roc_auc", 7, 4, 0.9))

    assert row.window.value == 1.0
    assert row.metrics["mean_of_days"] == 1.0


def test_a_day_closes_when_the_clock_is_seven_days_past_it() -> None:
    assert last_closed_day(datetime(2008, 3, 17, tzinfo=UTC)) == D
    assert last_closed_day(datetime(2008, 3, 16, 23, 59, tzinfo=UTC)) == D - timedelta(days=1)
    assert last_closed_day(None) is None


def test_days_are_those_of_utc() -> None:
    just_past_midnight_in_tokyo = datetime(2008, 3, 17, 1, tzinfo=timezone(timedelta(hours=9)))
    assert last_closed_day(just_past_midnight_in_tokyo) == D - timedelta(days=1)


def test_days_become_unbroken_spans() -> None:
    days = [date(2008, 3, 2), date(2008, 2, 29), date(2008, 3, 1), date(2008, 3, 5), date(2008, 3, 1)]
    assert spans_of(days) == [(date(2008, 2, 29), date(2008, 3, 2)), (date(2008, 3, 5), date(2008, 3, 5))]
    assert spans_of([]) == []


def test_a_row_keeps_the_threshold_that_it_was_judged_by() -> None:
    rule = RollingRule("f1", window_days=7, min_outcomes=4, confidence=0.9, threshold=0.8)

    (row,) = daily_rows("v1", decided_outcomes(on(D, tp=5)), [D], rule)

    assert row.metrics["threshold"] == 0.8
