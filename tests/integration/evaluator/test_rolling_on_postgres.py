"""Days, late labels and breaches on a real database. Outcomes follow 30 days after the loan."""

import asyncio
from datetime import timedelta

import pytest
from loanloop_common.events import ModelEvaluated, Topic

from tests.integration.evaluator.world import World, catch_up, day, loans_of_day, settle

GOOD = (0.9, 0.1)


async def with_live_model(world: World) -> None:
    """v1 went live when the clock (as_of) stood on day 49; the first day that closes under it is 43."""
    await world.history(first=0, last=19, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(3))
    await settle(world.judge())


async def test_the_daily_f1_is_that_of_the_decisions_whose_outcome_counts_on_the_day(world: World) -> None:
    await with_live_model(world)
    loans = await world.live_through(range(20, 40), "v1", right=3, wrong=1)
    assert loans

    await catch_up(world.rolling())

    row = await world.daily("v1", 55)
    assert row is not None
    assert (row["tp"], row["fp"], row["tn"], row["fn"], row["n_loans"]) == (3, 0, 0, 1, 4)
    assert row["f1"] == 2 * 3 / (2 * 3 + 1)
    assert row["metrics"]["window"]["n_loans"] == 4 * 6  # days 50 to 55: the window reaches back to 49
    assert row["value"] == 2 * 18 / (2 * 18 + 6)
    assert row["lower"] < row["value"] < row["upper"]
    assert await world.daily("v1", 61) is not None
    assert await world.daily("v1", 62) is None  # as_of, the fifth newest of four a day to day 69, is on day 68


async def test_only_a_first_decision_made_before_the_outcome_counts_and_no_history(world: World) -> None:
    await with_live_model(world)
    await world.live_through(range(20, 40), "v1", right=3, wrong=0)
    decided_late, decided_twice = loans_of_day(25, right=5, wrong=0), loans_of_day(25, right=0, wrong=2)
    await world.receive(decided_late + decided_twice)
    await world.decide(decided_twice, "v0")
    await world.decide(decided_twice, "v1")
    await world.label(decided_late + decided_twice)
    await world.decide(decided_late, "v1")
    await world.history(first=25, last=25, feature_scores={"score": GOOD})

    await catch_up(world.rolling())

    of_v1, of_v0 = await world.daily("v1", 55), await world.daily("v0", 55)
    assert of_v1 is not None
    assert (of_v1["n_loans"], of_v1["tp"]) == (3, 3)
    assert of_v0 is not None
    assert (of_v0["n_loans"], of_v0["fn"]) == (2, 2)


async def test_a_breach_opens_after_three_days_in_a_row_and_is_announced_once(world: World) -> None:
    await with_live_model(world)
    await world.live_through(range(20, 30), "v1", right=9, wrong=1)
    await world.live_through(range(30, 50), "v1", right=4, wrong=6)

    await asyncio.gather(catch_up(world.rolling()), catch_up(world.rolling()))
    await catch_up(world.rolling())

    (breach,) = await world.breaches()
    assert breach["closed_at"] is None
    opened = (breach["opened_on"] - day(0).date()).days
    uppers = [(await world.daily("v1", n) or {})["upper"] for n in range(opened - 3, opened + 1)]
    assert uppers[0] >= 0.8
    assert all(upper < 0.8 for upper in uppers[1:])
    said = [e for e in await world.events(Topic.MODEL_EVALUATED) if isinstance(e, ModelEvaluated) and e.day]
    assert [(e.verdict, e.version, e.breach_id, e.day) for e in said] == [
        ("breach", "v1", breach["breach_id"], breach["opened_on"])
    ]


async def test_a_breach_recovers_when_the_value_is_back_for_three_days(world: World) -> None:
    await with_live_model(world)
    await world.live_through(range(20, 35), "v1", right=4, wrong=6)
    await world.live_through(range(35, 60), "v1", right=10, wrong=0)

    await catch_up(world.rolling())

    (breach,) = await world.breaches()
    assert breach["closed_by"] == "recovery"
    assert breach["closed_on"] > breach["opened_on"]
    verdicts = [e.model_dump()["verdict"] for e in await world.events(Topic.MODEL_EVALUATED)]
    assert verdicts == ["passed", "breach", "recovered"]


@pytest.mark.parametrize(("good_days", "relapses"), [(12, [1]), (45, [0, 0])])
async def test_breach_that_opens_again_soon_after_its_recovery_goes_on(
    world: World, good_days: int, relapses: list[int]
) -> None:
    await with_live_model(world)
    await world.live_through(range(20, 35), "v1", right=4, wrong=6)
    await world.live_through(range(35, 35 + good_days), "v1", right=10, wrong=0)
    await world.live_through(range(35 + good_days, 60 + good_days), "v1", right=4, wrong=6)

    await catch_up(world.rolling())

    breaches = await world.breaches()
    assert [breach["relapses"] for breach in breaches] == relapses
    assert breaches[-1]["closed_at"] is None
    said = [e for e in await world.events(Topic.MODEL_EVALUATED) if isinstance(e, ModelEvaluated) and e.day]
    assert [e.verdict for e in said] == ["breach", "recovered", "breach"]
    assert [e.breach_id for e in said] == [breaches[0]["breach_id"]] * 2 + [breaches[-1]["breach_id"]]


async def test_a_deployment_closes_the_breach_and_the_old_decisions_open_no_other(world: World) -> None:
    await with_live_model(world)
    await world.live_through(range(20, 35), "v1", right=4, wrong=6)
    await catch_up(world.rolling())
    await world.add_model(2, train_to=day(3))

    await world.operator().promote("v2", "test")
    await world.live_through(range(35, 60), "v1", right=4, wrong=6)
    await catch_up(world.rolling())

    (breach,) = await world.breaches()
    assert (breach["version"], breach["closed_by"]) == ("v1", "deployment")
    assert await world.daily("v1", 70) is not None
    assert await world.daily("v2", 70) is not None  # unknown, but closed


async def test_too_few_outcomes_are_unknown_and_open_no_breach(world: World) -> None:
    await with_live_model(world)
    await world.live_through(range(20, 50), "v1", right=0, wrong=1)

    await catch_up(world.rolling(min_outcomes=30))

    row = await world.daily("v1", 60)
    assert row is not None
    assert (row["value"], row["upper"], row["metrics"]["state"]) == (None, None, "unknown")
    assert await world.breaches() == []


async def test_a_late_label_and_a_correction_recompute_their_days_but_open_no_breach(world: World) -> None:
    await with_live_model(world)
    late = loans_of_day(25, right=0, wrong=40)
    await world.receive(late)
    await world.decide(late, "v1")
    loans = await world.live_through(range(20, 40), "v1", right=9, wrong=1)
    rolling = world.rolling()
    await catch_up(rolling)
    before = await world.daily("v1", 57)
    assert before is not None
    assert before["n_loans"] == 10

    await world.label(late)
    moved = [loan for loan in loans if loan.occurred_at == day(23)]
    await world.label(moved, known_at=day(57))
    await catch_up(rolling)

    assert [(await world.daily("v1", n) or {})["n_loans"] for n in (53, 55, 57)] == [0, 50, 20]
    window = await world.daily("v1", 58)
    assert window is not None
    assert (window["metrics"]["window"]["n_loans"], window["value"] < 0.8) == (7 * 10 + 40, True)
    assert await world.breaches() == []


async def test_a_correction_that_arrives_while_the_evaluator_is_down_is_found_at_its_start(world: World) -> None:
    await with_live_model(world)
    loans = await world.live_through(range(20, 40), "v1", right=9, wrong=1)
    await catch_up(world.rolling())

    await world.label([loan for loan in loans if loan.occurred_at == day(25)], defaulted=False)
    await catch_up(world.rolling())

    row = await world.daily("v1", 55)
    assert row is not None
    assert (row["tp"], row["fp"], row["tn"]) == (0, 9, 1)


async def test_mistyped_dates_close_no_day_that_the_true_ones_would_not(world: World) -> None:
    await with_live_model(world)
    loans = await world.live_through(range(20, 40), "v1", right=3, wrong=1)
    await catch_up(world.rolling())

    await world.label(loans[:4], known_at=day(2000))
    await catch_up(world.rolling())

    newest_true_date = day(39 + 30)
    assert max(row["day"] for row in await world.rows("daily")) == (newest_true_date - timedelta(days=7)).date()
    assert await world.breaches() == []


async def test_a_look_that_finds_nothing_new_writes_nothing(world: World) -> None:
    await with_live_model(world)
    await world.live_through(range(20, 40), "v1", right=3, wrong=1)
    rolling = world.rolling()
    await catch_up(rolling)
    before = {row["performance_id"]: row["evaluated_at"] for row in await world.rows("daily")}

    await catch_up(rolling)
    await catch_up(world.rolling())

    assert {row["performance_id"]: row["evaluated_at"] for row in await world.rows("daily")} == before


async def test_by_roc_auc_the_scores_of_the_window_decide(world: World) -> None:
    await with_live_model(world)
    for n in range(20, 40):
        loans = loans_of_day(n, right=3, wrong=1)
        repaid = [type(x)(f"r{x.loan_id}", x.occurred_at, False, {"score": 0.3}) for x in loans]
        await world.receive(loans + repaid)
        await world.decide(loans + repaid, "v1")
        await world.label(loans + repaid, known_at=day(n) + timedelta(days=30))

    await catch_up(world.rolling(metric="roc_auc"))

    row = await world.daily("v1", 60)
    assert row is not None
    assert row["value"] == 0.75
    assert row["metrics"]["window"]["roc_auc"] == 0.75
    assert row["metrics"]["mean_of_days"] == 0.75
