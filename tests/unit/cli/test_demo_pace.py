from datetime import UTC, date, datetime, timedelta

import pytest
from loanloop.demo.pace import CLOSE, CRAWL, EASY, FULL, HOLD, OVERTIME, TRICKLE, giving_up_is_due, pace_of
from loanloop.demo.plan import DemoImpossible, plan_of
from loanloop.observe.snapshot import Alert

from tests.support.snapshots import (
    NOW,
    make_breach,
    make_days,
    make_lag,
    make_snapshot,
    make_training,
    make_version,
)


def test_replay_runs_at_full_pace_while_nothing_is_trained_or_behind() -> None:
    assert pace_of(make_snapshot(versions=(make_version(),), training=make_training("succeeded"))) is FULL


def test_behind_the_last_month_the_replay_does_not_outrun_the_judgement_it_waits_for() -> None:
    trained = make_snapshot(versions=(make_version(),), training=make_training("succeeded"))

    assert pace_of(trained, overtime=True) is OVERTIME
    assert pace_of(make_snapshot(training=make_training("running")), overtime=True) is CRAWL


def test_event_time_trickles_while_a_challenger_is_trained() -> None:
    assert pace_of(make_snapshot(training=make_training("running"))) is TRICKLE


def test_event_time_trickles_until_a_trained_challenger_is_judged() -> None:
    versions = (make_version(1), make_version(2, passed=None))

    assert pace_of(make_snapshot(versions=versions, training=make_training("succeeded"))) is TRICKLE


def test_event_time_trickles_from_the_breach_until_the_trainer_has_taken_it_up() -> None:
    older = make_training("succeeded")

    assert pace_of(make_snapshot(training=older, breaches=(make_breach(),))) is TRICKLE


def test_a_breach_whose_attempt_was_rejected_gets_fresh_labels_at_full_pace() -> None:
    attempt = make_training("succeeded", created_at=NOW + timedelta(minutes=3))
    versions = (make_version(1), make_version(2, passed=False))

    assert pace_of(make_snapshot(training=attempt, versions=versions, breaches=(make_breach(),))) is FULL


@pytest.mark.parametrize(
    ("attempt", "passed", "alerted", "is_due"),
    [(2, False, False, False), (3, None, False, False), (3, False, False, True), (3, False, True, False)],
)
def test_demo_waits_for_the_alert_after_the_last_attempt(
    attempt: int, passed: bool | None, alerted: bool, is_due: bool
) -> None:
    made_at = NOW + timedelta(minutes=3)
    last = make_training("succeeded", trigger="breach", attempt=attempt, created_at=made_at, version="v2")
    alert = Alert(
        service="trainer", kind="retraining_given_up", severity="critical", message="", raised_at=made_at + timedelta(1)
    )
    snapshot = make_snapshot(
        training=last,
        versions=(make_version(1), make_version(2, passed=passed)),
        breaches=(make_breach(),),
        alerts=(alert,) if alerted else (),
    )

    assert giving_up_is_due(snapshot, attempts=3) is is_due


@pytest.mark.parametrize(("topic", "group"), [("loan.received", "predictor"), ("loan.outcome", "ingest")])
def test_replay_waits_for_services_that_fall_behind(topic: str, group: str) -> None:
    assert pace_of(make_snapshot(lags=(make_lag(topic, group, waiting=5000),))) is HOLD


def test_replay_waits_for_days_that_are_closed_but_not_judged() -> None:
    days = make_days(date(2005, 3, 1), [0.85])

    behind = make_snapshot(days=days, as_of=datetime(2005, 6, 1, tzinfo=UTC))
    a_little = make_snapshot(days=days, as_of=datetime(2005, 3, 25, tzinfo=UTC))
    in_time = make_snapshot(days=days, as_of=datetime(2005, 3, 10, tzinfo=UTC))

    assert pace_of(behind) is HOLD
    assert pace_of(a_little) is EASY
    assert pace_of(in_time) is FULL


def test_replay_stays_close_to_what_is_judged_while_a_breach_may_come_any_day() -> None:
    judged = datetime(2008, 8, 10, tzinfo=UTC)
    falling = make_days(date(2008, 8, 7), [0.85, 0.79, None])
    risen = make_days(date(2008, 8, 7), [0.79, 0.85, None])

    assert pace_of(make_snapshot(days=falling, as_of=judged)) is CLOSE
    assert pace_of(make_snapshot(days=risen, as_of=judged)) is FULL


def test_stream_never_stops() -> None:
    assert min(pace.events_per_s for pace in (FULL, CLOSE, TRICKLE, CRAWL, HOLD)) > 1


def test_plan_replays_the_month_that_was_asked_for_to_its_end() -> None:
    plan = plan_of("sba", "2008-12")

    assert plan.until == datetime(2009, 1, 1, tzinfo=UTC)
    assert (plan.history_from.year, plan.stream_from.year) == (2002, 2005)
    assert plan.shows_breach


def test_plan_that_ends_before_the_crisis_does_not_promise_a_breach() -> None:
    assert not plan_of("sba", "2005-06").shows_breach


@pytest.mark.parametrize("until", ["2004-12", "2011-01", "2008-13", "autumn"])
def test_plan_refuses_months_it_has_no_loans_for(until: str) -> None:
    with pytest.raises(DemoImpossible, match=until):
        plan_of("sba", until)
