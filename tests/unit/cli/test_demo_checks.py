from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from loanloop.demo.checks import Ledger, Sent, SideBySide, checks_of, story_is_over
from loanloop.demo.plan import plan_of
from loanloop.demo.rest import RestFigures
from loanloop.observe.snapshot import Snapshot

from tests.support.snapshots import (
    make_breach,
    make_counts,
    make_days,
    make_deployment,
    make_instance,
    make_snapshot,
    make_version,
)

PLAN = plan_of("sba", "2008-10")


def told_story(**overrides: Any) -> Snapshot:
    facts: dict[str, Any] = {
        "loans": make_counts(received=110, stored=110, history=60, scored=50, decided=50, labelled=110),
        "versions": (make_version(1), make_version(2, trigger="breach")),
        "deployments": (make_deployment(1), make_deployment(2, previous="v1")),
        "breaches": (make_breach(closed_on=date(2008, 8, 1), closed_by="deployment"),),
        "days": (
            *make_days(date(2008, 5, 1), [0.76] * 30),
            *make_days(date(2008, 9, 1), [0.85] * 30, version="v2"),
        ),
        "instances": (make_instance("predictor", version="v2", seq=2),),
    }
    return make_snapshot(**(facts | overrides))


def make_rest(**overrides: Any) -> RestFigures:
    rest = RestFigures(sent=1200, **overrides)
    rest.by_version.update({"v1": 1000, "v2": 200})
    return rest


def make_ledger(**overrides: int) -> Ledger:
    facts = {
        "stored": 110, "history": 60, "scored": 50, "decided": 50, "labelled": 110, "waiting_outcomes": 0, "others": 0,
        "loans_without_decision": 0, "decisions_without_loan": 0, "history_decided": 0, "loans_decided_twice": 0,
        "loans_without_outcome": 0, "scored_published": 50,
    }  # fmt: skip
    return Ledger(**(facts | overrides))


def make_both(**overrides: Any) -> SideBySide:
    facts: dict[str, Any] = {
        "frozen": "v1", "live": "v2", "n_loans": 400, "frozen_f1": 0.74, "live_f1": 0.82,
        "frozen_roc_auc": 0.93, "live_roc_auc": 0.95,
        "first": datetime(2008, 9, 1, tzinfo=UTC), "last": datetime(2008, 9, 30, tzinfo=UTC),
    }  # fmt: skip
    return SideBySide(**(facts | overrides))


BOTH = make_both()


def broken(
    snapshot: Snapshot | None = None,
    *,
    sent: Sent | None = None,
    rest: RestFigures | None = None,
    ledger: Ledger | None = None,
    both: SideBySide | None = BOTH,
) -> list[str]:
    checks = checks_of(
        PLAN,
        snapshot or told_story(),
        sent or Sent(history=60, streamed=40, asked=10, outcomes=50),
        rest or make_rest(),
        ledger or make_ledger(),
        both,
    )
    return [check.what for check in checks if not check.holds]


def test_a_story_told_to_its_end_holds() -> None:
    assert broken() == []


def test_a_loan_that_was_lost_is_seen() -> None:
    lost = make_counts(received=110, stored=109, history=60, scored=50, decided=50, labelled=110)

    assert "received 110 = stored 109 + rejected 0 + duplicates 0" in broken(told_story(loans=lost))


def test_a_loan_decided_twice_is_seen() -> None:
    (only,) = broken(ledger=make_ledger(loans_decided_twice=1))

    assert only.endswith("each exactly once")


def test_loans_of_others_beside_the_demos_own_are_said_and_break_nothing() -> None:
    with_others = make_counts(received=118, stored=116, history=61, scored=54, decided=54, labelled=112, rejected=1)

    checks = checks_of(
        PLAN,
        told_story(loans=with_others),
        Sent(history=60, streamed=40, asked=10, outcomes=50),
        make_rest(),
        make_ledger(others=7),
        BOTH,
    )

    assert [check.what for check in checks if not check.holds] == []
    assert checks[0].what == "loans sent 110 = stored 110 (and 7 messages of others, or repeated)"


def test_an_own_loan_that_was_lost_is_seen_also_beside_those_of_others() -> None:
    lost = make_ledger(stored=109, decided=49, scored=49, labelled=109, others=1)

    assert [what[:27] for what in broken(ledger=lost)] == ["loans sent 110 = stored 109", "outcomes sent 50, each join"]


def test_one_failed_request_is_too_many() -> None:
    assert broken(rest=make_rest(failed=1)) == ["REST requests failed 1"]


def test_a_breach_without_a_swap_does_not_hold() -> None:
    failed = broken(told_story(breaches=(make_breach(),), deployments=(make_deployment(1),)))

    assert "a challenger was deployed for it" in failed


def test_a_version_below_the_threshold_as_well_does_not_hold() -> None:
    days = (*make_days(date(2008, 5, 1), [0.70] * 30), *make_days(date(2008, 9, 1), [0.75] * 30, version="v2"))
    again = (make_breach(), make_breach(version="v2", opened_on=date(2008, 9, 14)))

    assert broken(told_story(days=days, breaches=again)) == [
        "F1 recovered: 0.750 since the swap (threshold 0.8); on the same 400 loans F1 0.820, of v1 0.740; "
        "a breach of its own on 2008-09-14"
    ]


def test_a_late_version_that_does_not_hold_is_laid_at_the_door_of_a_slow_machine() -> None:
    late = replace(make_deployment(2, previous="v1"), live_from_event_time=PLAN.until + timedelta(days=14))
    days = (*make_days(date(2008, 5, 1), [0.70] * 30), *make_days(date(2008, 9, 1), [0.75] * 30, version="v2"))

    (recovery,) = broken(told_story(days=days, deployments=(make_deployment(1), late)))

    assert recovery.endswith(
        "; the swap came on 2008-11-15, after the last month (2008-10): "
        "training was slow here, run the demo again while nothing else keeps the cores busy"
    )


def test_a_breach_of_the_new_version_is_said_and_another_story() -> None:
    later = (make_breach(), make_breach(version="v2", opened_on=date(2008, 9, 15)))

    sent = Sent(history=60, streamed=40, asked=10, outcomes=50)

    checks = checks_of(PLAN, told_story(breaches=later), sent, make_rest(), make_ledger(), BOTH)

    assert [check.what for check in checks if not check.holds] == []
    assert checks[-1].what.endswith("; a breach of its own on 2008-09-15")


def test_a_version_that_does_no_better_on_the_same_loans_than_the_one_before_does_not_hold() -> None:
    (only,) = broken(both=make_both(frozen_f1=0.82))

    assert only.endswith("on the same 400 loans F1 0.820, of v1 0.820")


def test_a_recovery_on_too_few_loans_to_compare_does_not_hold() -> None:
    assert broken(both=None) == [
        "F1 recovered: 0.850 since the swap (threshold 0.8); too few of its loans are known to compare"
    ]


def test_a_predictor_that_serves_another_version_is_seen() -> None:
    stale = (make_instance("predictor", version="v1", seq=1),)

    assert broken(told_story(instances=stale)) == ["the predictor serves the live version, v2"]


def test_story_goes_on_until_the_new_version_is_judged_on_two_weeks() -> None:
    short = (*make_days(date(2008, 5, 1), [0.76] * 30), *make_days(date(2008, 9, 1), [0.85] * 13, version="v2"))

    assert not story_is_over(PLAN, told_story(days=short))
    assert story_is_over(PLAN, told_story())
    assert story_is_over(plan_of("sba", "2005-06"), make_snapshot())
