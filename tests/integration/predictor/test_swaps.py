"""Hot swaps: every replica, no failed request, nothing older, nothing corrupt."""

import asyncio
from collections import Counter
from functools import partial

import httpx
import pytest
from loanloop_common.events import ModelDeployed

from tests.integration.predictor.versions import make_version
from tests.integration.predictor.world import DAY, SLOT, World, get, predict
from tests.support.eventually import eventually
from tests.support.loans import make_features, make_loan

pytestmark = pytest.mark.timeout(600)
N_SWAPS = 20


def a_loan() -> dict[str, object]:
    return {"loan_id": "a", "features": make_features(1)}


async def test_without_a_model_the_stream_waits_and_loses_nothing(world: World) -> None:
    url = await world.start_predictor()
    await world.produce(make_loan(number) for number in range(50))

    answer = await predict(url, a_loan())
    assert answer.status_code == 503
    assert answer.json()["error"]["kind"] == "no_model"
    assert (await get(url, "/model-info")).status_code == 503

    async def waiting() -> bool:
        health = (await get(url, "/health")).json()
        return (health["status"], health["stream"]) == ("waiting for a model", "waiting")

    await eventually(waiting)
    assert await world.n_decided() == 0

    await world.deploy(await world.store_model(make_version("v1")), 1)
    assert len(await world.decided(50)) == 50
    assert (await get(url, "/health")).json()["status"] == "ok"


async def test_every_replica_swaps_also_one_that_starts_during_the_deployment(world: World) -> None:
    await world.deploy(await world.store_model(make_version("v1")), 1)
    await world.store_model(make_version("v2", slope=2.0))
    # Only the announcement makes them look, and each of them hears it.
    by_announcement = {"LOANLOOP_PREDICTOR__RECONCILE_EVERY_S": "3600"}
    await asyncio.gather(*(world.start_predictor(name, **by_announcement) for name in ("one", "two")))
    await eventually(lambda: _applied(world, "one", "two", seq=1), within_s=40)

    starting = asyncio.create_task(world.start_predictor("three", **by_announcement))
    await world.deploy("v2", 2)
    await starting

    await eventually(lambda: _applied(world, "one", "two", "three", seq=2), within_s=40)


async def test_older_announcement_changes_nothing(world: World) -> None:
    for number in (1, 2):
        await world.deploy(await world.store_model(make_version(f"v{number}")), number)
    # Nothing but announcements makes it look, and it reads them in order.
    url = await world.start_predictor(LOANLOOP_PREDICTOR__RECONCILE_EVERY_S="3600")
    await eventually(lambda: _applied(world, "predictor", seq=2))

    await world.announce(
        ModelDeployed(
            occurred_at=DAY, slot=SLOT, version="v1", deployment_seq=1, kind="deploy", pinned=False, previous=None,
            bundle_sha256="", actor="test", reason="late", deployed_at=DAY,
        )
    )  # fmt: skip
    await world.deploy("v1", 3)  # a rollback is newer, whatever its version
    await eventually(lambda: _applied(world, "predictor", seq=3))
    assert (await get(url, "/model-info")).json()["version"] == "v1"
    assert 'loanloop_model_load_duration_seconds_count{result="served"} 2.0' in (await get(url, "/metrics")).text


@pytest.mark.parametrize("fault", ["cut short", "other bytes", "another version", "other features"])
async def test_bundle_that_is_not_right_is_refused_and_the_old_one_serves(world: World, fault: str) -> None:
    await world.deploy(await world.store_model(make_version("v1")), 1)
    url = await world.start_predictor()
    await eventually(lambda: _applied(world, "predictor", seq=1))

    good = make_version("v2")
    stored = {"another version": make_version("v3"), "other features": make_version("v2", portfolio="sba_application")}
    await world.store_model(stored.get(fault, good), version="v2")
    if fault == "cut short":
        await world.pool.execute(
            "UPDATE loan_data.model_metadata SET bundle = substr(bundle, 1, length(bundle) / 2) WHERE version = 'v2'"
        )
    if fault == "other bytes":
        await world.pool.execute(
            "UPDATE loan_data.model_metadata "
            "SET bundle = overlay(bundle PLACING 'xx'::bytea FROM length(bundle) / 2) WHERE version = 'v2'"
        )
    await world.deploy("v2", 2)

    async def refused() -> bool:
        health = (await get(url, "/health")).json()
        return bool(health["status"] == "degraded" and health["refused"]["deployment_seq"] == 2)

    await eventually(refused)
    assert (await predict(url, a_loan())).json()["version"] == "v1"
    assert [row["kind"] for row in await world.pool.fetch("SELECT kind FROM loan_data.alerts")] == ["model_refused"]

    await world.deploy(await world.store_model(make_version("v4")), 3)
    await eventually(lambda: _applied(world, "predictor", seq=3))
    assert (await get(url, "/health")).json()["status"] == "ok"


async def test_replica_that_starts_while_the_live_bundle_is_refused_serves_the_one_before(world: World) -> None:
    await world.deploy(await world.store_model(make_version("v1")), 1)
    await world.store_model(make_version("v2"))
    await world.pool.execute("UPDATE loan_data.model_metadata SET bundle = 'no bundle' WHERE version = 'v2'")
    await world.deploy("v2", 2)

    url = await world.start_predictor()
    await eventually(lambda: _applied(world, "predictor", seq=1))
    assert (await predict(url, a_loan())).json()["version"] == "v1"

    mended = make_version("v2")
    await world.pool.execute("UPDATE loan_data.model_metadata SET bundle = $1 WHERE version = 'v2'", mended)
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        reloaded = (await client.post("/reload-model")).json()
    assert (reloaded["version"], reloaded["changed"]) == ("v2", True)


async def test_no_request_fails_over_many_swaps_under_load(world: World) -> None:
    for number in (1, 2):
        await world.store_model(make_version(f"v{number}", slope=float(number)))
    await world.deploy("v1", 1)
    url = await world.start_predictor()
    await eventually(lambda: _applied(world, "predictor", seq=1))
    done = asyncio.Event()
    requesting = [asyncio.create_task(_request_until(url, done, worker)) for worker in range(4)]

    for seq in range(2, N_SWAPS + 2):
        await world.produce(make_loan(number) for number in range(seq * 100, seq * 100 + 100))
        await world.deploy(f"v{1 + (seq - 1) % 2}", seq)
        await eventually(partial(_applied, world, "predictor", seq=seq))
    done.set()
    answers = sum(await asyncio.gather(*requesting), Counter[tuple[int, float]]())

    # Each version gives the one loan its own bits; nothing in between.
    assert {status for status, _ in answers} == {200}
    assert len(answers) == 2
    await world.consumed(answers.total() + N_SWAPS * 100, within_s=60)
    assert await world.n_decided() == answers.total() + N_SWAPS * 100


async def _request_until(url: str, done: asyncio.Event, worker: int) -> Counter[tuple[int, float]]:
    answers: Counter[tuple[int, float]] = Counter()
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        while not done.is_set():
            answer = await client.post("/predict", json=a_loan())
            answers[(answer.status_code, answer.json().get("probability", -1.0))] += 1
    return answers


async def _applied(world: World, *instances: str, seq: int) -> bool:
    return all([await world.applied(instance) == seq for instance in instances])
