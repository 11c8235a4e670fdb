"""The series that facts of the database make."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from loanloop_common.telemetry import CATALOGUE
from loanloop_evaluator.domain.facts import (
    MOST_REJECTIONS,
    Breach,
    ClosedDay,
    Facts,
    LiveModel,
    Rejections,
    WatchedPolicy,
    series_of,
)

POLICY = WatchedPolicy("sba", "f1", breach_below=0.8, gate_at_least=0.8)
DEPLOYED_AT = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = datetime(2006, 3, 1, tzinfo=UTC)
LIVE = LiveModel("v2", 5, "promote", True, DEPLOYED_AT, AS_OF, 120.0)
WINDOW = {"tp": 30, "fp": 10, "tn": 50, "fn": 10, "roc_auc": 0.9}
DAY = ClosedDay(date(2006, 3, 8), 3, 1, 5, 1, {"roc_auc": None, "window": WINDOW}, 0.75, 0.7, 0.79)


def test_every_series_has_the_labels_of_the_catalogue() -> None:
    facts = Facts(live=LIVE, day=DAY, event_time=AS_OF, rejected_today=[Rejections("conflict", None, None, 1)])

    for name, series in series_of(facts, POLICY).items():
        assert all(len(labels) == len(CATALOGUE[name].labels) for labels in series), name


def test_every_metric_of_the_evaluators_database_is_replaced_at_each_look() -> None:
    """Or what is gone would stay."""
    known = {name for name, about in CATALOGUE.items() if about.who == "evaluator"}

    assert set(series_of(Facts(), POLICY)) == known


def test_figures_are_those_of_the_latest_day_and_of_its_window() -> None:
    series = series_of(Facts(live=LIVE, day=DAY), POLICY)

    of_day, rolling = ("sba", "v2", "day"), ("sba", "v2", "rolling")
    assert series["loanloop_model_f1"] == {of_day: 6 / 8, rolling: 60 / 80}
    assert series["loanloop_model_precision"] == {of_day: 3 / 4, rolling: 30 / 40}
    assert series["loanloop_model_recall"] == {of_day: 3 / 4, rolling: 30 / 40}
    assert series["loanloop_model_accuracy"] == {of_day: 8 / 10, rolling: 80 / 100}
    assert series["loanloop_model_outcomes"] == {of_day: 10, rolling: 100}
    assert series["loanloop_model_closed_day_timestamp_seconds"] == {
        ("sba", "v2"): datetime(2006, 3, 8, tzinfo=UTC).timestamp()
    }


def test_figure_that_is_unknown_has_no_series() -> None:
    unknown = DAY._replace(tp=0, fp=0, tn=4, fn=0, value=None, lower=None, upper=None)
    series = series_of(Facts(live=LIVE, day=unknown), POLICY)

    assert series["loanloop_model_f1"].keys() == {("sba", "v2", "rolling")}
    assert series["loanloop_model_roc_auc"] == {("sba", "v2", "rolling"): 0.9}
    assert series["loanloop_model_metric"] == {}


def test_age_of_the_live_version_is_told_by_both_clocks() -> None:
    facts = Facts(live=LIVE, event_time=AS_OF + timedelta(days=10))

    ages = series_of(facts, POLICY)["loanloop_live_model_age_seconds"]

    assert ages == {("sba", "wall"): 120.0, ("sba", "event"): 864_000.0}


def test_what_is_live_is_in_the_labels() -> None:
    assert series_of(Facts(live=LIVE), POLICY)["loanloop_live_model_info"] == {("sba", "v2", "promote", "true"): 1.0}
    assert series_of(Facts(), POLICY)["loanloop_live_model_info"] == {}


@pytest.mark.parametrize(
    ("breach", "expected"), [(None, (0, 0, 0)), (Breach(2, False), (1, 2, 0)), (Breach(3, True), (1, 3, 1))]
)
def test_breach_is_told_with_its_attempts(breach: Breach | None, expected: tuple[int, int, int]) -> None:
    series = series_of(Facts(live=LIVE, breach=breach), POLICY)

    names = ("loanloop_breach_open", "loanloop_breach_attempts", "loanloop_retraining_given_up")
    assert tuple(series[name]["sba",] for name in names) == expected  # type: ignore[index]


def test_first_alert_of_a_kind_is_a_step_from_zero() -> None:
    before = series_of(Facts(), POLICY)["loanloop_alerts_raised_total"]
    after = series_of(Facts(alerts={("training_failed", "critical"): 1}), POLICY)["loanloop_alerts_raised_total"]

    assert before["training_failed", "critical"] == 0
    assert after["training_failed", "critical"] == 1
    assert after.keys() == before.keys()


def test_reasons_beyond_the_most_frequent_are_one_series() -> None:
    """Whoever sends nonsense in a thousand forms must not make a thousand series."""
    facts = replace(Facts(), rejected_today=[Rejections("invalid_field", f"f{n}", "r" * 999, 2) for n in range(1000)])

    series = series_of(facts, POLICY)["loanloop_data_quality_rejected"]

    assert len(series) == MOST_REJECTIONS + 1
    assert sum(series.values()) == 2000
    assert series["other", "other", "other"] == 2 * (1000 - MOST_REJECTIONS)
    assert max(len(label) for labels in series for label in labels) < 200
