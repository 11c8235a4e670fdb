"""What the metrics tell of trainings, from their rows in a real database."""

from uuid import UUID

from loanloop_common.telemetry import REGISTRY
from loanloop_trainer.handlers import TrainingWatch
from loanloop_trainer.store.claimed import ClaimedRunStore
from loanloop_trainer.store.progress import ProgressStore

from tests.integration.trainer.world import TrainerWorld


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"loanloop_{name}", labels)


def trained(result: str) -> float:
    return told("run_duration_seconds_count", kind="train", result=result) or 0.0


async def begun_run(world: TrainerWorld) -> UUID:
    await world.label(2000)
    run_id = await world.runs.request_run(seed=1, requested_by="test")
    assert run_id is not None
    return run_id


async def test_run_is_told_from_its_row_until_it_ends(world: TrainerWorld) -> None:
    watch = TrainingWatch(ProgressStore(world.pool))
    await watch.look()
    assert told("training_running") == 0

    run_id = await begun_run(world)
    await watch.look()
    assert (told("training_running"), told("training_heartbeat_age_seconds")) == (1, None)

    await world.runs.claim_run("a", stale_after_s=15)
    progress = {"step": 5, "steps": 20, "epoch": 1, "epochs": 4, "loss": 0.5, "rows_per_s": 100.0}
    await ClaimedRunStore(world.pool, run_id, "a").beat("train", progress)
    await watch.look()
    assert told("training_progress_ratio", phase="train") == 0.25
    assert (told("training_loss"), told("training_epochs")) == (0.5, 4)
    assert 0 <= (told("training_heartbeat_age_seconds") or 0.0) < 60

    before = trained("succeeded")
    await world.finish_run(run_id)
    await watch.look()
    await watch.look()
    assert trained("succeeded") == before + 1, "once, however often it is looked at"
    assert (told("training_running"), told("training_progress_ratio", phase="train")) == (0, None)


async def test_run_that_fails_is_told_and_one_that_ended_before_is_not(world: TrainerWorld) -> None:
    first = await begun_run(world)
    await world.runs.claim_run("a", stale_after_s=15)
    await world.finish_run(first)
    before = trained("succeeded"), trained("failed")

    watch = TrainingWatch(ProgressStore(world.pool))
    await watch.look()
    second = await world.runs.request_run(seed=1, requested_by="test")
    assert second is not None
    await world.runs.claim_run("a", stale_after_s=15)
    await watch.look()
    await ClaimedRunStore(world.pool, second, "a").fail("no loan defaulted")
    await watch.look()

    assert (trained("succeeded"), trained("failed")) == (before[0], before[1] + 1)
