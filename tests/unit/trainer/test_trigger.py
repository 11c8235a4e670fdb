from datetime import UTC, datetime, timedelta

import pytest
from loanloop_common.portfolio import Policy
from loanloop_trainer.domain.trigger import (
    Decision,
    GiveUp,
    LastRun,
    OpenBreach,
    Situation,
    Train,
    Wait,
    decide,
)

NOW = datetime(2008, 6, 1, 12, tzinfo=UTC)
POLICY = Policy(
    maturity_days=30,
    first_labels=1000,
    new_labels=5000,
    breach_new_labels=100,
    breach_attempts=3,
    cooldown_minutes=60,
)


def last_run(labels_total: int = 1000, *, succeeded: bool = True, hours_ago: float = 24) -> LastRun:
    return LastRun(labels_total=labels_total, succeeded=succeeded, finished_at=NOW - timedelta(hours=hours_ago))


def with_model(labels: int, **changes: object) -> Situation:
    facts: dict[str, object] = {"live_version": "v1", "last_run": last_run(), **changes}
    return Situation(labels=labels, **facts)  # type: ignore[arg-type]  # the tests name the fields


def decision(situation: Situation, policy: Policy = POLICY) -> Decision:
    return decide(situation, policy, NOW)


@pytest.mark.parametrize(("labels", "trains"), [(0, False), (999, False), (1000, True), (90_000, True)])
def test_first_training_waits_for_the_first_labels(labels: int, trains: bool) -> None:
    assert isinstance(decision(Situation(labels=labels)), Train) is trains


def test_waiting_says_how_many_labels_there_are_of_how_many() -> None:
    assert decision(Situation(labels=999)) == Wait("999 of 1,000 labelled loans for the first training")


@pytest.mark.parametrize(("labels", "trains"), [(5999, False), (6000, True)])
def test_a_healthy_champion_is_challenged_by_the_count_of_new_labels_alone(labels: int, trains: bool) -> None:
    assert (decision(with_model(labels)) == Train("labels")) is trains


def test_labels_are_counted_from_the_last_run_whatever_started_it() -> None:
    assert isinstance(decision(with_model(7000, last_run=last_run(labels_total=4000))), Wait)


def test_nothing_starts_while_a_run_is_open() -> None:
    breach = OpenBreach(breach_id=7)

    assert decision(with_model(90_000, run_is_open=True, breach=breach)) == Wait("a training is under way")


def test_nothing_starts_before_the_last_model_is_judged() -> None:
    breach = OpenBreach(breach_id=7)

    assert decision(with_model(90_000, awaits_verdict="v2", breach=breach)) == Wait("v2 is being judged")


def test_cooldown_holds_back_labels_and_breach_alike() -> None:
    recent = last_run(hours_ago=0.5)

    assert decision(with_model(90_000, last_run=recent)) == Wait("cooldown until 2008-06-01 12:30 UTC")
    assert isinstance(decision(with_model(1000, last_run=recent, breach=OpenBreach(breach_id=7))), Wait)


def test_cooldown_ends_on_the_minute() -> None:
    assert isinstance(decision(with_model(90_000, last_run=last_run(hours_ago=1))), Train)


def test_first_training_that_was_rejected_is_tried_again_on_as_many_labels_more() -> None:
    rejected = {"live_version": None, "last_run": last_run(labels_total=1000)}

    assert decision(with_model(1999, **rejected)) == Wait("999 of 1,000 new labels")
    assert decision(with_model(2000, **rejected)) == Train("labels")


def test_rejected_first_training_never_waits_longer_than_a_champion_would() -> None:
    policy = POLICY.model_copy(update={"new_labels": 200})

    assert decision(with_model(1200, live_version=None), policy) == Train("labels")


def test_training_by_hand_on_too_few_loans_does_not_put_off_the_first_one() -> None:
    by_hand = {"live_version": None, "last_run": last_run(labels_total=600, succeeded=False)}

    assert isinstance(decision(with_model(999, **by_hand)), Wait)
    assert decision(with_model(1000, **by_hand)) == Train("labels")


def test_run_that_failed_is_tried_again_on_the_smaller_count() -> None:
    failed = last_run(labels_total=6000, succeeded=False)

    assert isinstance(decision(with_model(6999, last_run=failed)), Wait)
    assert decision(with_model(7000, last_run=failed)) == Train("labels")


def test_breach_starts_its_first_attempt_at_once_without_new_labels() -> None:
    assert decision(with_model(1000, breach=OpenBreach(breach_id=7))) == Train("breach", 7, 1)


@pytest.mark.parametrize(("labels", "trains"), [(1000, False), (1099, False), (1100, True)])
def test_further_attempt_at_a_breach_needs_fresh_labels(labels: int, trains: bool) -> None:
    breach = OpenBreach(breach_id=7, rejected=1, labels_at_last_run=1000)

    assert (decision(with_model(labels, breach=breach)) == Train("breach", 7, 2)) is trains


def test_waiting_for_a_further_attempt_says_what_for() -> None:
    breach = OpenBreach(breach_id=7, rejected=1, labels_at_last_run=1000)

    waiting = Wait("40 of 100 fresh labels for the next attempt at the breach")
    assert decision(with_model(1040, breach=breach)) == waiting


def test_third_attempt_is_the_last() -> None:
    twice = OpenBreach(breach_id=7, rejected=2, labels_at_last_run=1000)
    thrice = OpenBreach(breach_id=7, rejected=3, labels_at_last_run=1000)

    assert decision(with_model(4000, breach=twice)) == Train("breach", 7, 3)
    assert decision(with_model(4000, breach=thrice)) == GiveUp(7)


def test_giving_up_does_not_wait_for_the_cooldown() -> None:
    breach = OpenBreach(breach_id=7, rejected=3, labels_at_last_run=1000)

    assert decision(with_model(4000, breach=breach, last_run=last_run(hours_ago=0))) == GiveUp(7)


def test_breach_is_given_up_once() -> None:
    breach = OpenBreach(breach_id=7, rejected=3, labels_at_last_run=1000, given_up=True)

    assert isinstance(decision(with_model(4000, breach=breach)), Wait)


def test_labels_still_start_a_training_after_a_breach_is_given_up() -> None:
    breach = OpenBreach(breach_id=7, rejected=3, labels_at_last_run=1000, given_up=True)

    assert decision(with_model(6000, breach=breach)) == Train("labels")


def test_breach_of_a_pinned_version_starts_nothing() -> None:
    pinned = with_model(1000, pinned=True, breach=OpenBreach(breach_id=7))

    assert decision(pinned) == Wait("v1 is pinned: its breach starts no training until it is unpinned")


def test_labels_start_a_training_even_while_a_version_is_pinned() -> None:
    assert decision(with_model(6000, pinned=True, breach=OpenBreach(breach_id=7))) == Train("labels")


def test_run_that_failed_is_no_attempt_but_needs_fresh_labels() -> None:
    breach = OpenBreach(breach_id=7, failed=1, labels_at_last_run=1000)
    failed = last_run(succeeded=False)

    assert isinstance(decision(with_model(1099, breach=breach, last_run=failed)), Wait)
    assert decision(with_model(1100, breach=breach, last_run=failed)) == Train("breach", 7, 1)


def test_failing_runs_of_a_breach_never_loop_on_the_same_labels() -> None:
    policy = POLICY.model_copy(update={"breach_new_labels": 0, "cooldown_minutes": 0})
    breach = OpenBreach(breach_id=7, failed=1, labels_at_last_run=1000)

    assert isinstance(decision(with_model(1000, breach=breach), policy), Wait)


def test_runs_that_fail_for_a_breach_are_bounded() -> None:
    breach = OpenBreach(breach_id=7, failed=3, labels_at_last_run=1000)

    assert decision(with_model(4000, breach=breach)) == Wait(
        "3 trainings for the breach failed: `loanloop retrain` starts another"
    )


def test_attempts_may_follow_without_fresh_labels_if_the_policy_asks_for_none() -> None:
    policy = POLICY.model_copy(update={"breach_new_labels": 0})
    breach = OpenBreach(breach_id=7, rejected=1, labels_at_last_run=1000)

    assert decision(with_model(1000, breach=breach), policy) == Train("breach", 7, 2)


def test_breach_goes_before_labels_when_both_are_due() -> None:
    assert decision(with_model(90_000, breach=OpenBreach(breach_id=7))) == Train("breach", 7, 1)


def test_new_champion_has_no_breach_and_trains_by_labels_again() -> None:
    assert isinstance(decision(with_model(4000, live_version="v2")), Wait)


def test_labels_taken_back_by_corrections_start_nothing() -> None:
    assert isinstance(decision(with_model(900)), Wait)
