"""Runs, their frozen rows and the facts that decide, on a real database; nothing trains here."""

import asyncio
from uuid import UUID

import pytest
from loanloop.observe.queries import fetch_loan_counts
from loanloop_common.events import Topic
from loanloop_trainer.domain.ports import Ended, Exit
from loanloop_trainer.store.claimed import ClaimedRunStore, RunLost

from tests.integration.trainer.world import TrainerWorld


async def finish(world: TrainerWorld, run_id: UUID) -> Ended:
    await world.finish_run(run_id)
    return Ended(Exit.ENDED)


async def live_model_with_breach(world: TrainerWorld) -> int:
    await world.label(2000)
    version = await world.train_by_hand()
    await world.judge(version, passed=True)
    await world.deploy(version)
    return await world.open_breach(version)


async def attempt(world: TrainerWorld, *, passed: bool = False) -> str | None:
    """One look of the trainer, and the evaluator's verdict on the model, if one was trained."""
    known = await world.newest_run()
    retraining = world.retraining(train=lambda run_id: finish(world, run_id))
    while await retraining.step():
        pass
    run = await world.newest_run()
    if run["run_id"] == known["run_id"]:
        return None
    await world.judge(run["version"], passed=passed, opponent="v1")
    version: str = run["version"]
    return version


async def test_run_freezes_the_window_and_leaves_the_newest_share_to_the_gate(world: TrainerWorld) -> None:
    await world.label(2000)

    run_id = await world.runs.request_run(seed=1, requested_by="test")

    run = await world.newest_run()
    assert (run["run_id"], run["state"], run["trigger"], run["labels_total"]) == (run_id, "queued", "manual", 1971)
    assert run["n_rows"] == 1971 - 198
    eligible_after = await world.pool.fetchval(
        "SELECT count(*) FROM loan_data.processed_data WHERE counts_at <= $1 AND occurred_at > $2",
        run["as_of"],
        run["window_to"],
    )
    assert eligible_after == 198


async def test_views_count_the_labels_towards_a_training_as_the_trainer_does(world: TrainerWorld) -> None:
    await world.label(2000)
    await world.runs.request_run(seed=1, requested_by="test")
    run = await world.newest_run()

    async with world.pool.acquire() as connection:
        seen = await fetch_loan_counts(connection, received=None, as_of=run["as_of"])

    assert (seen.labelled, seen.mature) == (2000, run["labels_total"])
    assert seen.mature < seen.labelled


async def test_loans_older_than_the_window_are_not_frozen(world: TrainerWorld) -> None:
    await world.label(2000)
    await world.pool.execute(
        "UPDATE loan_data.processed_data SET occurred_at = occurred_at - interval '37 months' WHERE loan_id < 'loan-15'"
    )

    await world.runs.request_run(seed=1, requested_by="test")

    run = await world.newest_run()
    assert run["window_from"].year == 2005
    assert run["n_rows"] < run["labels_total"] - 198


async def test_corrections_after_the_freeze_do_not_change_the_frozen_labels(world: TrainerWorld) -> None:
    await world.label(2000)
    await world.runs.request_run(seed=1, requested_by="test")
    frozen = "SELECT loan_id, defaulted FROM loan_data.training_rows ORDER BY loan_id"
    before = await world.pool.fetch(frozen)

    await world.pool.execute("UPDATE loan_data.processed_data SET defaulted = NOT defaulted")

    assert await world.pool.fetch(frozen) == before


async def test_too_few_loans_of_one_class_fail_the_run_with_one_sentence_and_one_alert(world: TrainerWorld) -> None:
    await world.label(2000)
    await world.pool.execute("UPDATE loan_data.processed_data SET defaulted = false")

    await world.retraining().step()

    run = await world.newest_run()
    assert run["state"] == "failed"
    assert run["error"].startswith("1,773 loans with 0 defaulted and 1,773 repaid are left to learn from")
    (alert,) = await world.alerts("training_failed")
    assert alert["details"]["run_id"] == str(run["run_id"])
    outbox = await world.pool.fetchval("SELECT count(*) FROM loan_data.outbox WHERE topic = $1", Topic.ALERT_RAISED)
    assert outbox == 1


async def test_labelled_loans_that_are_too_young_are_counted_where_none_is_left_to_learn_from(
    world: TrainerWorld,
) -> None:
    await world.label(2000)
    await world.pool.execute("UPDATE loan_data.processed_data SET matured_at = matured_at + interval '10 years'")

    await world.runs.request_run(seed=1, requested_by="test")

    assert "2,000 that are labelled do not count yet" in (await world.newest_run())["error"]


async def test_two_trainers_that_decide_at_once_start_one_run(world: TrainerWorld) -> None:
    await world.label(2000)
    trainers = [world.retraining(owner=f"trainer-{i}") for i in range(4)]

    await asyncio.gather(*(trainer._start_if_due() for trainer in trainers))

    assert await world.pool.fetchval("SELECT count(*) FROM loan_data.training_runs") == 1
    claims = await asyncio.gather(*(world.runs.claim_run(f"trainer-{i}", stale_after_s=15) for i in range(4)))
    assert sum(claim is not None for claim in claims) == 1


async def test_run_whose_heartbeat_stopped_is_taken_over_and_lost_to_its_old_owner(world: TrainerWorld) -> None:
    await world.label(2000)
    run_id = await world.runs.request_run(seed=1, requested_by="test")
    assert run_id is not None
    await world.runs.claim_run("old", stale_after_s=15)
    await ClaimedRunStore(world.pool, run_id, "old").save_checkpoint(b"far")
    assert await world.runs.claim_run("new", stale_after_s=15) is None

    await world.pool.execute("UPDATE loan_data.training_runs SET heartbeat_at = now() - interval '16 s'")
    claim = await world.runs.claim_run("new", stale_after_s=15)

    assert claim is not None
    assert claim.crashes == 1
    assert await ClaimedRunStore(world.pool, run_id, "new").fetch_checkpoint() == b"far"
    with pytest.raises(RunLost):
        await ClaimedRunStore(world.pool, run_id, "old").beat("train", {})
    with pytest.raises(RunLost):
        await world.finish_run(run_id, owner="old")


async def test_model_its_run_and_its_event_are_stored_together_and_once(world: TrainerWorld) -> None:
    await world.label(2000)
    run_id = await world.runs.request_run(seed=1, requested_by="test")
    assert run_id is not None
    await world.runs.claim_run("a", stale_after_s=15)

    assert await world.finish_run(run_id) == "v1"
    assert await world.finish_run(run_id) == "v1"

    run = await world.newest_run()
    assert (run["state"], run["version"], run["checkpoint"]) == ("succeeded", "v1", None)
    assert await world.pool.fetchval("SELECT count(*) FROM loan_data.model_metadata") == 1
    keys = await world.pool.fetch("SELECT topic, message_key FROM loan_data.outbox")
    assert [tuple(row) for row in keys] == [("model.trained", "v1")]


async def test_breach_starts_a_training_that_the_label_count_would_not(world: TrainerWorld) -> None:
    breach_id = await live_model_with_breach(world)

    assert await attempt(world) == "v2"

    run = await world.newest_run()
    assert (run["trigger"], run["breach_id"], run["attempt"]) == ("breach", breach_id, 1)


async def test_breach_gets_three_attempts_on_fresh_labels_then_one_alert_with_both_figures(world: TrainerWorld) -> None:
    breach_id = await live_model_with_breach(world)
    versions = [await attempt(world)]
    for _ in range(2):
        assert await attempt(world) is None, "no attempt without fresh labels"
        await world.label(250)
        versions.append(await attempt(world))
    await world.label(250)

    assert [await attempt(world) for _ in range(3)] == [None, None, None]

    assert versions == ["v2", "v3", "v4"]
    attempts = "SELECT attempt FROM loan_data.training_runs WHERE breach_id = $1 ORDER BY created_at"
    assert [row["attempt"] for row in await world.pool.fetch(attempts, breach_id)] == [1, 2, 3]
    (alert,) = await world.alerts("retraining_given_up")
    facts = alert["details"]
    assert (facts["champion"], facts["challenger"]) == ("v1", "v4")
    assert (facts["champion_value"], facts["challenger_value"]) == (0.58, 0.55)
    assert "`loanloop promote v4` overrules" in alert["message"]


async def test_after_giving_up_labels_alone_still_start_a_training(world: TrainerWorld) -> None:
    world.set_portfolio(breach_new_labels=0)
    await live_model_with_breach(world)
    for _ in range(3):
        await attempt(world)
    await world.label(1000)

    assert await attempt(world, passed=True) == "v5"

    assert (await world.newest_run())["trigger"] == "labels"


async def test_rejection_while_pinned_is_no_attempt(world: TrainerWorld) -> None:
    await live_model_with_breach(world)
    known = await world.newest_run()
    assert await world.runs.create_run(world.retraining()._decide, seed=1) != known["run_id"]
    await world.deploy("v1", pinned=True)
    retraining = world.retraining(train=lambda run_id: finish(world, run_id))
    while await retraining.step():
        pass

    await world.judge("v2", passed=False, opponent="v1")

    situation = await world.runs.fetch_situation()
    assert situation.pinned
    assert situation.breach is not None
    assert situation.breach.rejected == 0


async def test_model_made_live_without_a_verdict_holds_up_nothing(world: TrainerWorld) -> None:
    await world.label(2000)
    version = await world.train_by_hand()
    assert (await world.runs.fetch_situation()).awaits_verdict == version

    await world.deploy(version)

    assert (await world.runs.fetch_situation()).awaits_verdict is None


async def test_second_request_is_refused_while_a_run_is_open(world: TrainerWorld) -> None:
    await world.label(2000)

    assert await world.runs.request_run(seed=1, requested_by="test") is not None
    assert await world.runs.request_run(seed=1, requested_by="test") is None


async def test_third_crash_fails_the_run_and_raises_one_alert(world: TrainerWorld) -> None:
    await world.label(2000)

    async def crash(run_id: UUID) -> Ended:
        return Ended(-9)

    retraining = world.retraining(train=crash)
    while await retraining.step():
        pass

    run = await world.newest_run()
    assert (run["state"], run["crashes"]) == ("failed", 3)
    assert run["error"] == (
        "it crashed 3 times, the last time because the training process was killed by SIGKILL; "
        "the trainer's log has more."
    )
    assert len(await world.alerts("training_failed")) == 1
