from dataclasses import replace
from datetime import UTC, datetime, timedelta

from loanloop_evaluator.domain.firing import RaisedAlert, ends_at, firing

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
FACT = RaisedAlert(
    alert_id="5a1",
    service="ingest",
    kind="records_removed",
    severity="critical",
    message="3 records are gone",
    raised_at=NOW - timedelta(hours=1),
    is_state=False,
    resolved_at=None,
)
STATE = replace(FACT, kind="retraining_given_up", is_state=True)


def test_a_fact_is_told_for_three_days_whoever_looks_when() -> None:
    assert ends_at(FACT, NOW) == ends_at(FACT, NOW + timedelta(hours=5)) == FACT.raised_at + timedelta(hours=72)


def test_a_state_goes_on_from_look_to_look() -> None:
    assert ends_at(STATE, NOW) - NOW == ends_at(STATE, NOW + timedelta(days=9)) - NOW - timedelta(days=9)
    assert ends_at(STATE, NOW) > NOW


def test_a_state_that_ended_is_told_as_ended() -> None:
    ended = replace(STATE, resolved_at=NOW - timedelta(minutes=2))

    assert ends_at(ended, NOW) == ended.resolved_at


def test_labels_stay_the_same_while_an_alert_goes_on() -> None:
    first = firing(STATE, preset="sba", now=NOW)
    later = firing(replace(STATE, resolved_at=NOW), preset="sba", now=NOW + timedelta(days=1))

    assert first["labels"] == later["labels"]
    assert first["labels"]["alertname"] == "RetrainingGivenUp"


def test_whoever_is_told_can_tell_what_lasts_from_what_happened() -> None:
    told = [firing(alert, preset="sba", now=NOW)["labels"]["lasts"] for alert in (FACT, STATE)]

    assert told == ["fact", "state"]


def test_two_facts_of_a_kind_are_two_alerts() -> None:
    other = firing(replace(FACT, alert_id="5a2"), preset="sba", now=NOW)

    assert other["labels"] != firing(FACT, preset="sba", now=NOW)["labels"]
