"""The real training in its child process, killed and resumed, and the trainer as a service."""

import asyncio
import os
import re
import signal
import sys
from uuid import UUID

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from loanloop_common.bundle import Manifest, unpack
from loanloop_common.events import ModelTrained, Topic
from loanloop_common.verified_scorer import load_verified
from loanloop_trainer.domain.trigger import MAX_CRASHES

from tests.integration.trainer.world import TrainerWorld
from tests.support.eventually import eventually
from tests.support.infrastructure import Backend
from tests.support.topics import read_all

TRAINED_WITHIN_S = 150

pytestmark = pytest.mark.timeout(600)


def settings(world: TrainerWorld, **more: str) -> dict[str, str]:
    return {
        "LOANLOOP_POSTGRES__DSN": world.dsn,
        "LOANLOOP_PORTFOLIO": str(world.portfolio_file),
        "LOANLOOP_TRAINER__POLL_S": "0.5",
        "LOANLOOP_TRAINER__THREADS": "1",
        "LOANLOOP_TRAINER__CHECKPOINT_EVERY_S": "0.1",
        "LOANLOOP_TRAINER__STALE_AFTER_S": "5",
        **more,
    }


def training_processes(parent_pid: int) -> list[psutil.Process]:
    return [
        child for child in psutil.Process(parent_pid).children() if "loanloop-training" in " ".join(child.cmdline())
    ]


async def learning(world: TrainerWorld) -> bool:
    """Far enough for a checkpoint of the fine-tuning, and not at its end."""
    run = await world.newest_run()
    return run is not None and run["phase"] == "train" and run["checkpoint"] is not None


async def manifest_of(world: TrainerWorld, run_id: UUID) -> Manifest:
    bundle = await world.pool.fetchval("SELECT bundle FROM loan_data.model_metadata WHERE run_id = $1", run_id)
    return unpack(bundle).manifest


async def test_killed_training_resumes_from_its_checkpoint_to_the_same_model(
    world: TrainerWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    """And its loans without an outcome stay without one, though it comes meanwhile."""
    world.set_portfolio(epochs=15, batch_size=64)
    await world.label(2000)
    await world.take_outcomes(each=10)
    async with world.training():
        undisturbed = await eventually(world.succeeded, within_s=TRAINED_WITHIN_S)
        await world.judge("v1", passed=False)
        await world.runs.request_run(seed=1, requested_by="test")
        await eventually(lambda: learning(world), within_s=TRAINED_WITHIN_S)

        (child,) = training_processes(os.getpid())
        await world.give_outcomes()
        child.kill()
        resumed = await eventually(world.succeeded, within_s=TRAINED_WITHIN_S)

    assert (resumed["version"], resumed["crashes"], undisturbed["crashes"]) == ("v2", 1, 0)
    said = capfd.readouterr().err
    assert "training_resumed" in said
    assert len(re.findall(r"loans_loaded .*n_unlabelled.*=.*\b1\d\d\b", said)) == 3
    first, second = await manifest_of(world, undisturbed["run_id"]), await manifest_of(world, resumed["run_id"])
    assert second.reference == first.reference
    assert second.metrics == first.metrics
    assert second.sha256 == first.sha256


async def test_lost_process_of_two_is_a_crash_and_the_run_goes_on_with_two(
    world: TrainerWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    world.processes = 2
    world.set_portfolio(epochs=30, batch_size=128)
    await world.label(2000)
    async with world.training():
        await eventually(lambda: learning(world), within_s=TRAINED_WITHIN_S)
        (child,) = training_processes(os.getpid())
        (follower,) = (each for each in child.children() if "loanloop-learning" in " ".join(each.cmdline()))
        follower.kill()
        run = await eventually(world.succeeded, within_s=TRAINED_WITHIN_S)

    assert (run["version"], run["crashes"]) == ("v1", 1)
    said = capfd.readouterr().err
    assert "process 2 of 2 of this training was killed by SIGKILL" in said
    assert "training_resumed" in said
    assert not follower.is_running()
    assert training_processes(os.getpid()) == []


async def start_torchrun(world: TrainerWorld, *, processes: int = 1, restarts: int = 0) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)),
        *("--max-restarts", str(restarts), "-m", "loanloop_trainer.torchrun"),
        env=settings(world),
        stderr=asyncio.subprocess.PIPE,
    )


async def test_torchrun_trains_the_waiting_run_on_two_processes_though_one_is_killed(world: TrainerWorld) -> None:
    world.set_portfolio(epochs=15, batch_size=128)
    await world.label(2000)
    run_id = await world.runs.request_run(seed=1, requested_by="test")

    torchrun = await start_torchrun(world, processes=2, restarts=1)
    await eventually(lambda: learning(world), within_s=TRAINED_WITHIN_S)
    (first,) = (each for each in psutil.Process(torchrun.pid).children() if each.environ().get("RANK") == "0")
    first.kill()
    _, said = await asyncio.wait_for(torchrun.communicate(), timeout=TRAINED_WITHIN_S)

    assert torchrun.returncode == 0, said.decode()
    run = await world.succeeded()
    assert (run["run_id"], run["version"], run["crashes"]) == (run_id, "v1", 1)
    assert b"training_resumed" in said
    assert ((await manifest_of(world, run["run_id"])).metrics["roc_auc"] or 0) > 0.6


async def test_torchrun_makes_no_other_run_once_one_has_crashed_too_often(world: TrainerWorld) -> None:
    await world.label(2000)
    assert await world.runs.request_run(seed=1, requested_by="test")
    await world.pool.execute(
        "UPDATE loan_data.training_runs SET crashes = $1, hyperparameters = hyperparameters || '{\"dropout\": 7}'",
        MAX_CRASHES - 1,
    )

    torchrun = await start_torchrun(world, restarts=1)
    _, said = await asyncio.wait_for(torchrun.communicate(), timeout=TRAINED_WITHIN_S)

    assert torchrun.returncode == 1
    assert b"the training has ended (loanloop status says how), and a restart asks for no other" in said
    runs = await world.pool.fetch("SELECT state, crashes, requested_by FROM loan_data.training_runs")
    assert [tuple(run) for run in runs] == [("failed", MAX_CRASHES, "test")]


@pytest.mark.parametrize("under_way", [False, True])
async def test_torchrun_ends_with_a_sentence_where_there_is_nothing_to_train(
    world: TrainerWorld, *, under_way: bool
) -> None:
    said = b"the training can't be made: 0 loans with 0 defaulted and 0 repaid are left to learn from"
    if under_way:
        said = b"another process works on the training that is under way"
        await world.label(2000)
        await world.runs.request_run(seed=1, requested_by="test")
        await world.runs.claim_run("another", stale_after_s=15)
        await world.pool.execute("UPDATE loan_data.training_runs SET heartbeat_at = now() + interval '1 hour'")

    torchrun = await start_torchrun(world, processes=1 if under_way else 2)
    _, err = await asyncio.wait_for(torchrun.communicate(), timeout=TRAINED_WITHIN_S)

    assert torchrun.returncode == 1
    assert b"loanloop-trainer: " + said in err


async def test_ensemble_that_hangs_is_killed_and_resumed_like_any_other(world: TrainerWorld) -> None:
    world.hangs_after_s = 10
    world.set_portfolio(epochs=15, batch_size=64, kind="ensemble")
    await world.label(2000)

    async with world.training():
        await eventually(lambda: learning(world), within_s=TRAINED_WITHIN_S)
        (child,) = training_processes(os.getpid())
        child.suspend()
        run = await eventually(world.succeeded, within_s=TRAINED_WITHIN_S)

    model = await world.pool.fetchrow("SELECT bundle, bundle_sha256 FROM loan_data.model_metadata")
    assert model is not None
    scorer = load_verified(model["bundle"], model["bundle_sha256"], version="v1", portfolio=world.portfolio)
    scorer.close()
    manifest = scorer.bundle.manifest
    assert (run["crashes"], manifest.kind, sum(manifest.weights.values())) == (1, "ensemble", 1.0)


async def test_stopped_trainer_ends_its_child_and_leaves_the_run_queued(world: TrainerWorld) -> None:
    world.set_portfolio(epochs=200, batch_size=16)
    await world.label(2000)

    async with world.training():
        await eventually(lambda: learning(world), within_s=TRAINED_WITHIN_S)

    run = await world.newest_run()
    assert (run["state"], run["owner"], run["crashes"]) == ("queued", None, 0)
    assert run["checkpoint"] is not None
    assert training_processes(os.getpid()) == []


async def test_training_that_can_learn_nothing_fails_with_one_sentence(world: TrainerWorld) -> None:
    world.set_portfolio(learning_rate=1e30)
    await world.label(2000)

    async with world.training():
        alerts = await eventually(lambda: world.alerts("training_failed"), within_s=TRAINED_WITHIN_S)

    run = await world.newest_run()
    assert (run["state"], run["crashes"]) == ("failed", 0)
    assert run["error"].startswith("the loss is no number any more")
    assert len(alerts) == 1


async def test_labels_alone_train_a_model_while_the_consumer_stays_in_its_group(
    infrastructure: Backend, topics: str, world: TrainerWorld
) -> None:
    world.set_portfolio(epochs=4, batch_size=64)
    await infrastructure.start_service("trainer", **settings(world, LOANLOOP_KAFKA__MAX_POLL_INTERVAL_MS="3000"))
    before = await eventually(lambda: members(topics), within_s=60)

    await world.label(2000)
    run = await eventually(world.succeeded, within_s=TRAINED_WITHIN_S)

    assert (run["trigger"], run["version"]) == ("labels", "v1")
    assert (run["finished_at"] - run["started_at"]).total_seconds() > 3
    assert await members(topics) == before
    (record,) = await eventually(lambda: read_all(topics, Topic.MODEL_TRAINED))
    trained = ModelTrained.model_validate_json(record.value)
    assert (trained.version, trained.run_id, trained.trigger) == ("v1", run["run_id"], "labels")
    manifest = await manifest_of(world, run["run_id"])
    assert manifest.train_to == run["window_to"]
    assert {finding.feature for finding in manifest.audit} == {"purpose", "income", "share"}


async def test_killed_trainer_leaves_no_child_and_the_next_one_finishes_its_run(
    infrastructure: Backend, topics: str, world: TrainerWorld
) -> None:
    world.set_portfolio(epochs=15, batch_size=64)
    await world.label(2000)
    service = await infrastructure.start_service("trainer", **settings(world))
    await eventually(lambda: learning(world), within_s=TRAINED_WITHIN_S)
    (child,) = training_processes(service.pid)

    await infrastructure.kill_service("trainer", signal.SIGKILL)

    await eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, within_s=5)
    assert (await world.newest_run())["state"] == "running"
    await infrastructure.start_service("trainer", **settings(world))
    run = await eventually(world.succeeded, within_s=TRAINED_WITHIN_S)
    assert (run["crashes"], run["version"]) == (1, "v1")
    assert "training_resumed" in infrastructure.log_of("trainer").read_text()
    assert await world.pool.fetchval("SELECT count(*) FROM loan_data.training_runs") == 1


async def members(bootstrap: str) -> list[str]:
    """Ids of the group's members, none while it forms; who leaves and comes back has a new one."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (response,) = await admin.describe_consumer_groups(["trainer"])
    except GroupCoordinatorNotAvailableError:
        return []
    finally:
        await admin.close()
    (group,) = response.groups
    return [member[0] for member in group[5]] if group[2] == "Stable" else []
