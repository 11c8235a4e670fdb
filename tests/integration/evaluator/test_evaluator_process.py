"""The evaluator as a process, with the files that the trainer exports, on a real broker and database."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from loanloop_common.bundle import pack, unpack
from loanloop_common.events import ModelDeployed, Topic

from tests.integration.evaluator.world import Loan, World, day
from tests.support.bundles import make_bundle
from tests.support.eventually import eventually
from tests.support.infrastructure import Backend
from tests.support.loans import make_features
from tests.support.topics import read_all

N_LOANS = 1000
GATE_FROM = day(9)


def bundle_with(threshold: float, version: str) -> bytes:
    bundle = unpack(make_bundle())
    return pack(
        bundle.manifest.model_copy(update={"version": version, "threshold": threshold}), bundle.encoder, bundle.model
    )


async def add_bundle(world: World, number: int, data: bytes | None = None) -> None:
    """A model that declines every loan, of which all have defaulted: its F1 is 1."""
    await world.add_model(number, train_to=GATE_FROM, data=data or bundle_with(0.0, f"v{number}"))


async def add_loans(world: World) -> None:
    loans = [Loan(f"loan-{i}", day(10 + i % 10), True, make_features(i)) for i in range(N_LOANS)]
    await world.receive(loans, is_history=True)
    await world.label(loans)


def settings(database: str) -> dict[str, str]:
    return {"LOANLOOP_POSTGRES__DSN": database, "LOANLOOP_PORTFOLIO": "sba", "LOANLOOP_EVALUATOR__POLL_S": "0.2"}


async def deployed_events(bootstrap: str) -> list[tuple[int, str, str]]:
    records = await read_all(bootstrap, Topic.MODEL_DEPLOYED)
    events = [ModelDeployed.model_validate_json(record.value) for record in records]
    return [(event.deployment_seq, event.version, event.kind) for event in events]


@pytest.mark.timeout(600)
async def test_an_evaluator_killed_before_and_after_its_verdict_is_stored_gives_one_verdict_and_one_deployment(
    infrastructure: Backend, database: str, topics: str, world: World
) -> None:
    await add_loans(world)
    await add_bundle(world, 1)
    async with held(world, "hashtext('loan_data.deployments.sba')") as is_waited_for:
        await infrastructure.start_service("evaluator", **settings(database))
        await eventually(is_waited_for, what="a verdict that waits to be stored", within_s=40)
        await infrastructure.kill_service("evaluator")
    assert await world.rows("gate") == []

    async with held(world, "hashtext('loan_data.outbox'), hashtext('evaluator')"):
        await infrastructure.start_service("evaluator", **settings(database))
        await eventually(world.deployed, within_s=40)
        await infrastructure.kill_service("evaluator")
    assert await deployed_events(topics) == []

    await infrastructure.start_service("evaluator", **settings(database))

    async def outbox_is_empty() -> bool:
        return bool(await world.pool.fetchval("SELECT NOT EXISTS (SELECT FROM loan_data.outbox)"))

    await eventually(outbox_is_empty)
    (row,) = await world.rows("gate")
    assert (row["passed"], row["f1"], row["n_loans"], row["tp"]) == (True, 1.0, N_LOANS, N_LOANS)
    assert await world.deployed() == [(1, "v1", "deploy", False)]
    assert set(await deployed_events(topics)) == {(1, "v1", "deploy")}


@asynccontextmanager
async def held(world: World, lock: str) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Holds an advisory lock of the evaluator's; yields whether somebody waits for one."""
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({lock})")

        async def is_waited_for() -> bool:
            waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
            return bool(await connection.fetchval(waiting))

        yield is_waited_for


@pytest.mark.timeout(600)
async def test_a_truncated_bundle_is_rejected_and_the_evaluator_goes_on(
    infrastructure: Backend, database: str, topics: str, world: World
) -> None:
    await add_loans(world)
    await add_bundle(world, 1, data=bundle_with(0.0, "v1")[:5000])
    await add_bundle(world, 2)

    await infrastructure.start_service("evaluator", **settings(database), LOANLOOP_EVALUATOR__FACTS_EVERY_S="0.2")

    await eventually(world.deployed, within_s=40)
    verdicts = {row["version"]: (row["passed"], row["reason"]) for row in await world.rows("gate")}
    assert verdicts["v1"][0] is False
    assert "cut short" in verdicts["v1"][1]
    assert verdicts["v2"][0] is True
    page = await eventually(lambda: page_with(world, "loanloop_live_model_info{"))
    assert 'loanloop_live_model_info{kind="deploy",pinned="false",preset="sba",version="v2"} 1.0' in page
    assert 'loanloop_run_duration_seconds_count{kind="evaluate",result="refused"} 1.0' in page
    assert 'loanloop_run_duration_seconds_count{kind="evaluate",result="passed"} 1.0' in page


async def page_with(world: World, text: str) -> str | None:
    url = await world.pool.fetchval("SELECT url FROM loan_data.service_instances WHERE service = 'evaluator'")
    async with httpx.AsyncClient(base_url=url, timeout=5) as client:
        page = (await client.get("/metrics")).text
    return page if text in page else None


def loanloop(*arguments: str, database: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("loanloop")), *arguments, "--data-dir", str(folder)]
    env = os.environ | {"LOANLOOP_POSTGRES__DSN": database}  # noqa: TID251 - a child's environment
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.timeout(600)
async def test_the_commands_show_promote_roll_back_and_unpin(
    infrastructure: Backend, database: str, topics: str, world: World, tmp_path: Path
) -> None:
    async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(loanloop, *arguments, database=database, folder=tmp_path)

    await add_loans(world)
    await add_bundle(world, 1)
    await infrastructure.start_service("evaluator", **settings(database))
    await eventually(world.deployed, within_s=40)
    await add_bundle(world, 2, data=bundle_with(1.0, "v2"))

    async def is_rejected() -> bool:
        return any(row["passed"] is False for row in await world.rows("gate"))

    await eventually(is_rejected, within_s=40)

    promoted = await run("promote", "v2", "--reason", "we know better")
    assert (promoted.stderr, promoted.stdout) == ("", "v2 is live (deployment 2, promote).\n")
    back = await run("rollback")
    assert back.returncode == 0
    assert "v1 is live (deployment 3, rollback).\nIt is pinned" in back.stdout
    again = await run("rollback", "v1")
    assert (again.returncode, again.stderr) == (1, "Error: v1 is live already\n")

    shown = json.loads((await run("models", "--json")).stdout)
    assert [(model["version"], model["state"]) for model in shown["versions"]] == [
        ("v1", "pinned"),
        ("v2", "superseded"),
    ]
    assert [period["kind"] for period in shown["versions"][0]["live"]] == ["deploy", "rollback"]
    assert shown["versions"][1]["manifest"]["version"] == "v2"
    assert (await run("models")).stdout.count("preset sba") == 1
    assert (await run("unpin")).returncode == 0

    async def announced() -> bool:
        kinds = [kind for *_, kind in await deployed_events(topics)]
        return kinds == ["deploy", "promote", "rollback", "unpin"]

    await eventually(announced)
