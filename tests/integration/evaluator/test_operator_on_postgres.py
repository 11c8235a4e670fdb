"""Promote, rollback and unpin on a real database, and what challengers do meanwhile."""

import asyncio
import threading

import pytest
from loanloop_common.events import Topic
from loanloop_evaluator.domain.deployment import DeploymentRefused
from loanloop_evaluator.domain.ports import LoanScorer
from loanloop_evaluator.store.deployments import StoredBundle

from tests.integration.evaluator.world import HeldScorer, RoteScorer, World, day, settle

GOOD, POOR = (0.9, 0.1), (0.4, 0.3)


async def with_two_versions(world: World) -> None:
    """v1 was live, v2 is."""
    await world.history(first=0, last=19, feature_scores={"score": GOOD, "poor": POOR})
    for number in (1, 2):
        await world.add_model(number, train_to=day(3 + number))
    await settle(world.judge())


async def test_a_rollback_makes_the_previous_version_live_and_pins_it(world: World) -> None:
    await with_two_versions(world)

    event = await world.operator().roll_back(None, "v2 declines too many")

    assert (event.version, event.kind, event.pinned, event.previous, event.actor) == (
        "v1", "rollback", True, "v2", "tester",
    )  # fmt: skip
    assert (await world.deployed())[-1] == (3, "v1", "rollback", True)
    assert (await world.events(Topic.MODEL_DEPLOYED))[-1] == event


async def test_a_challenger_whose_judging_began_before_a_rollback_does_not_undo_it(world: World) -> None:
    await with_two_versions(world)
    began, may_go_on = threading.Event(), threading.Event()

    def load(stored: StoredBundle) -> LoanScorer:
        return HeldScorer(stored, began, may_go_on) if stored.version == "v3" else RoteScorer(stored)

    await world.add_model(3, train_to=day(7))
    judge = world.judge(load=load)
    judging = asyncio.create_task(settle(judge))
    await asyncio.to_thread(began.wait, 30)
    await world.operator().roll_back("v1", "rollback during the judging")
    may_go_on.set()
    await judging

    assert (await world.deployed())[-1] == (3, "v1", "rollback", True)
    (verdict,) = [r for r in await world.rows("gate") if (r["version"], r["role"]) == ("v3", "challenger")]
    assert (verdict["opponent"], verdict["passed"]) == ("v1", True)


async def test_after_unpin_a_challenger_that_passed_meanwhile_is_judged_again_and_deployed(world: World) -> None:
    await with_two_versions(world)
    await world.operator().roll_back(None, "test")
    await world.add_model(3, train_to=day(7))
    await settle(world.judge())
    assert (await world.deployed())[-1] == (3, "v1", "rollback", True)

    await world.operator().unpin("go on")
    await settle(world.judge())

    assert (await world.deployed())[-2:] == [(4, "v1", "unpin", False), (5, "v3", "deploy", False)]


async def test_the_version_that_was_rolled_back_does_not_come_back_by_itself(world: World) -> None:
    await with_two_versions(world)
    await world.operator().roll_back(None, "test")
    await world.operator().unpin("go on")

    await settle(world.judge())

    assert (await world.deployed())[-1] == (4, "v1", "unpin", False)


async def test_a_second_rollback_goes_further_back(world: World) -> None:
    await with_two_versions(world)
    await world.add_model(3, train_to=day(7))
    await settle(world.judge())

    await world.operator().roll_back(None, "test")
    event = await world.operator().roll_back(None, "test")

    assert event.version == "v1"


async def test_promote_overrules_a_rejection(world: World) -> None:
    await with_two_versions(world)
    await world.add_model(3, train_to=day(7), feature="poor")
    await settle(world.judge())
    assert (await world.deployed())[-1][1] == "v2"

    await world.operator().promote("v3", "we know better")

    assert (await world.deployed())[-1] == (3, "v3", "promote", False)


async def test_what_cannot_be_done_is_refused_and_changes_nothing(world: World) -> None:
    await with_two_versions(world)
    await world.add_model(3, train_to=day(7), data=b"cut sho")
    operator = world.operator()

    with pytest.raises(DeploymentRefused, match=r"there is no version v9 \(known: v1, v2, v3\)"):
        await operator.promote("v9", "test")
    with pytest.raises(DeploymentRefused, match=r"there is no version v9 \(known: v1, v2, v3\)"):
        await operator.roll_back("v9", "test")
    with pytest.raises(DeploymentRefused, match="v2 is live already"):
        await operator.promote("v2", "test")
    with pytest.raises(DeploymentRefused, match="cut short"):
        await operator.promote("v3", "test")
    with pytest.raises(DeploymentRefused, match="loanloop promote v3"):
        await operator.roll_back("v3", "test")
    with pytest.raises(DeploymentRefused, match="no version is pinned"):
        await operator.unpin("test")

    assert len(await world.deployed()) == 2


async def test_operators_and_evaluators_at_once_give_one_sequence(world: World) -> None:
    await with_two_versions(world)
    for number in (3, 4, 5):
        await world.add_model(number, train_to=day(3 + number))

    await asyncio.gather(
        settle(world.judge()), settle(world.judge()), world.operator().roll_back("v1", "test"), settle(world.judge())
    )

    sequence = [seq for seq, *_ in await world.deployed()]
    assert sequence == list(range(1, len(sequence) + 1))
    assert (await world.deployed())[-1][1:] == ("v1", "rollback", True)
    events = [event.model_dump()["deployment_seq"] for event in await world.events(Topic.MODEL_DEPLOYED)]
    assert events == sequence
