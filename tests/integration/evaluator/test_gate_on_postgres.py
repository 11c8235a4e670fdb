"""Judging and deploying on a real database."""

import asyncio

import pytest
from loanloop_common.errors import Unavailable
from loanloop_common.events import AlertRaised, ModelDeployed, ModelEvaluated, Topic
from loanloop_common.tracing import begin_tracing, end_tracing
from loanloop_evaluator.domain.ports import LoanScorer
from loanloop_evaluator.store.deployments import StoredBundle

from tests.integration.evaluator.world import RoteScorer, World, day, settle
from tests.support.collector import Collector, attributes_of, hangs_on

GOOD, POOR = (0.9, 0.1), (0.4, 0.3)


async def test_the_first_model_that_reaches_the_threshold_goes_live(world: World) -> None:
    await world.history(first=0, last=9, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(3))

    await settle(world.judge())

    assert await world.deployed() == [(1, "v1", "deploy", False)]
    (row,) = await world.rows("gate")
    assert (row["version"], row["role"], row["opponent"], row["passed"]) == ("v1", "challenger", None, True)
    assert row["judged_seq"] == 0
    assert (row["tp"], row["tn"], row["fp"], row["fn"], row["n_loans"]) == (30, 30, 0, 0, 60)
    (evaluated,) = await world.events(Topic.MODEL_EVALUATED)
    assert isinstance(evaluated, ModelEvaluated)
    assert (evaluated.verdict, evaluated.value, evaluated.n_loans) == ("passed", 1.0, 60)
    (deployed,) = await world.events(Topic.MODEL_DEPLOYED)
    assert isinstance(deployed, ModelDeployed)
    assert (deployed.slot, deployed.version, deployed.deployment_seq, deployed.previous) == ("sba", "v1", 1, None)


async def test_judging_and_deploying_are_one_span_and_their_events_hang_on_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.history(first=0, last=9, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(3))
    with Collector().listening() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        begin_tracing("evaluator", instance_id="evaluator-1")
        await settle(world.judge())
        end_tracing()

    (evaluation,) = collector.named("evaluation")
    assert attributes_of(evaluation) == {"version": "v1", "result": "passed"}
    left = await world.pool.fetch("SELECT topic, traceparent FROM loan_data.outbox ORDER BY outbox_id")
    assert {row["topic"] for row in left} == {Topic.MODEL_EVALUATED, Topic.MODEL_DEPLOYED}
    assert all(hangs_on(row["traceparent"], evaluation) for row in left)


async def test_a_model_below_the_threshold_is_rejected_with_the_reason(world: World) -> None:
    await world.history(first=0, last=9, feature_scores={"score": POOR})
    await world.add_model(1, train_to=day(3))

    await settle(world.judge())

    assert await world.deployed() == []
    (row,) = await world.rows("gate")
    assert row["passed"] is False
    assert row["reason"] == "F1 0.000 on 60 loans, below 0.8; no champion to compare with"


async def test_too_few_loans_wait_without_a_verdict_and_are_judged_once_labels_have_come(world: World) -> None:
    await world.history(first=0, last=4, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(3))
    judge = world.judge(min_loans=40)

    await settle(judge)
    assert judge.waiting == {"v1": "10 of 40 labelled loans after 2005-01-04"}
    assert await world.rows("gate") == []

    await world.history(first=5, last=9, feature_scores={"score": GOOD})
    await settle(judge)
    assert judge.waiting == {}
    assert await world.deployed() == [(1, "v1", "deploy", False)]


async def test_challenger_and_champion_are_judged_on_the_same_loans_that_neither_has_seen(world: World) -> None:
    await world.history(first=0, last=19, feature_scores={"score": GOOD, "old": (0.9, 0.6)})
    await world.add_model(1, train_to=day(3), feature="score")
    await settle(world.judge())
    await world.add_model(2, train_to=day(11), feature="score")

    await settle(world.judge())

    challenger, champion = (await world.rows("gate"))[1:]
    assert (challenger["version"], challenger["opponent"], challenger["judged_seq"]) == ("v2", "v1", 1)
    assert (champion["version"], champion["role"]) == ("v1", "champion")
    for row in (challenger, champion):
        assert (row["window_from"], row["window_to"], row["n_loans"]) == (day(12), day(19), 80)
    assert (await world.deployed())[-1] == (2, "v2", "deploy", False)


async def test_a_champion_trained_later_moves_the_window_behind_what_it_has_seen(world: World) -> None:
    await world.history(first=0, last=19, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(12))
    await settle(world.judge())
    await world.add_model(2, train_to=day(5))

    await settle(world.judge())

    assert {row["window_from"] for row in await world.rows("gate")} == {day(13)}


async def test_a_challenger_worse_than_the_champion_is_rejected(world: World) -> None:
    scores = {"score": GOOD, "worse": (0.9, 0.1)}
    await world.history(first=0, last=19, feature_scores=scores)
    await world.history(first=20, last=21, feature_scores={"score": GOOD, "worse": (0.4, 0.1)})
    await world.add_model(1, train_to=day(3))
    await settle(world.judge())
    await world.add_model(2, train_to=day(10), feature="worse")

    await settle(world.judge())

    assert await world.deployed() == [(1, "v1", "deploy", False)]
    assert "not as good: v1 has 1.000 on the same loans" in (await world.rows("gate"))[1]["reason"]


async def test_by_roc_auc_an_equal_challenger_is_not_deployed(world: World) -> None:
    await world.history(first=0, last=19, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(3))
    await world.add_model(2, train_to=day(5))

    await settle(world.judge(metric="roc_auc", at_least=0.66))

    assert await world.deployed() == [(1, "v1", "deploy", False)]
    assert "not better" in (await world.rows("gate"))[1]["reason"]


async def test_labels_that_do_not_count_yet_are_not_in_the_window(world: World) -> None:
    await world.history(first=0, last=9, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(3))
    # One date far ahead: the clock is the fifth newest and does not follow it.
    mistyped = await world.live_through(range(9, 10), "v0", right=1, wrong=0)
    await world.label(mistyped, known_at=day(900))

    await settle(world.judge())

    (row,) = await world.rows("gate")
    assert row["n_loans"] == 60


async def test_a_corrupt_bundle_is_rejected_once_with_an_alert(world: World) -> None:
    await world.history(first=0, last=9, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(3), data=b"cut sho")

    await settle(world.judge(), world.judge())

    (row,) = await world.rows("gate")
    assert (row["passed"], row["reason"]) == (False, "bundle v1: is cut short or no bundle")
    (alert,) = await world.events(Topic.ALERT_RAISED)
    assert (alert.model_dump()["kind"], alert.model_dump()["details"]) == ("model_refused", {"version": "v1"})


async def test_nothing_is_deployed_while_the_champion_is_unreadable_and_one_alert_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.history(first=0, last=19, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(3))
    await settle(world.judge())
    await world.pool.execute("UPDATE loan_data.model_metadata SET bundle = 'broken' WHERE version = 'v1'")
    await world.add_model(2, train_to=day(5))
    judge = world.judge()

    with Collector().listening() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        begin_tracing("evaluator", instance_id="evaluator-1")
        await settle(judge, judge, world.judge())
        end_tracing()

    raised_within = "SELECT traceparent FROM loan_data.outbox WHERE topic = $1"
    assert collector.spans == []  # an evaluation that waits is none, so that nothing can hang on it
    assert await world.pool.fetchval(raised_within, Topic.ALERT_RAISED) is None
    assert await world.deployed() == [(1, "v1", "deploy", False)]
    reason = "v1 is live and can't be read: is cut short or no bundle"
    assert judge.waiting == {"v2": f"a champion to compare with; {reason}"}
    (alert,) = await world.events(Topic.ALERT_RAISED)
    assert isinstance(alert, AlertRaised)
    assert (alert.kind, alert.severity, alert.message.startswith(reason)) == ("model_refused", "critical", True)
    assert "loanloop promote v2" in alert.message


async def test_a_mended_champion_ends_the_wait_of_its_challenger(world: World) -> None:
    await world.history(first=0, last=19, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(3))
    await settle(world.judge())
    good = await world.pool.fetchval("SELECT bundle FROM loan_data.model_metadata WHERE version = 'v1'")
    await world.pool.execute("UPDATE loan_data.model_metadata SET bundle = 'broken' WHERE version = 'v1'")
    await world.add_model(2, train_to=day(5))
    judge = world.judge()
    await settle(judge)

    await world.pool.execute("UPDATE loan_data.model_metadata SET bundle = $1 WHERE version = 'v1'", good)
    await settle(judge)

    assert (await world.deployed())[-1] == (2, "v2", "deploy", False)
    assert judge.waiting == {}


async def test_a_model_that_cannot_be_loaded_for_now_is_tried_again_and_holds_up_no_other(world: World) -> None:
    await world.history(first=0, last=19, feature_scores={"score": GOOD})
    await world.add_model(1, train_to=day(3), feature="score")
    await world.add_model(2, train_to=day(5))
    without_room = {"v1"}

    def load(stored: StoredBundle) -> LoanScorer:
        if stored.version in without_room:
            raise Unavailable("no memory for now")
        return RoteScorer(stored)

    judge = world.judge(load=load)
    await settle(judge)
    assert await world.deployed() == [(1, "v2", "deploy", False)]

    without_room.clear()
    await world.add_model(3, train_to=day(6))
    without_room.add("v2")  # now the champion
    with pytest.raises(Unavailable):
        await settle(judge)
    assert await world.deployed() == [(1, "v2", "deploy", False)]
    without_room.clear()
    await settle(judge)
    assert (await world.deployed())[-1] == (2, "v3", "deploy", False)
    assert await world.events(Topic.ALERT_RAISED) == []


async def test_many_evaluators_at_once_give_one_verdict_and_one_sequence(world: World) -> None:
    await world.history(first=0, last=19, feature_scores={"score": GOOD})
    for number in range(1, 5):
        await world.add_model(number, train_to=day(3 + number))

    await asyncio.gather(*(settle(world.judge()) for _ in range(4)))

    assert await world.deployed() == [(n, f"v{n}", "deploy", False) for n in range(1, 5)]
    assert len(await world.events(Topic.MODEL_EVALUATED)) == 4
    assert [e.model_dump()["deployment_seq"] for e in await world.events(Topic.MODEL_DEPLOYED)] == [1, 2, 3, 4]
