"""From loans to a model, from a model to decisions, and from what became of them to the next model."""

import asyncio
import os
import sys
from datetime import timedelta

import pytest
from loanloop_common.events import Topic

from tests.e2e.world import World, loans
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(600)


async def test_enough_new_labels_alone_replace_a_healthy_champion(world: World) -> None:
    await world.start()
    history = await world.first_model()

    new = loans(1300, first=len(history))
    await world.decide(new)
    await world.served("v2")

    assert await world.trigger_of("v1") == "labels"
    assert await world.trigger_of("v2") == "labels"
    assert await world.pool.fetchval("SELECT count(*) FROM loan_data.breaches") == 0
    (answer,) = [await world.predict(loans(1, first=9000)[0])]
    assert (answer.status_code, answer.json()["version"]) == (200, "v2")
    scored = await eventually(world.scored)
    assert {str(event.loan_event_id) for event in scored} >= {loan.event_id for loan in new}
    assert {event.version for event in scored} >= {"v1"}


async def test_breach_starts_a_training_and_its_model_is_swapped_in(world: World) -> None:
    policy = world.portfolio.read_text().replace("new_labels = 1000\n", "new_labels = 100000\n", 1)
    world.portfolio.write_text(policy.replace("[policy]", "[policy]\ntraining_window_months = 1"))
    await world.start()
    history = await world.first_model()

    year_later = timedelta(days=365)
    for day in range(0, 60, 12):
        n, first = 12 * 40, len(history) + day * 40
        await world.decide(loans(n, first=first, later=year_later, reversed_world=True))
        if await breach_opened(world, within_s=8):
            break
    version = await eventually(lambda: deployed_for_a_breach(world), within_s=120)

    await world.served(version)
    assert await world.trigger_of(version) == "breach"
    breach = await world.pool.fetchrow("SELECT version, closed_by FROM loan_data.breaches ORDER BY breach_id LIMIT 1")
    assert breach is not None
    assert tuple(breach) == ("v1", "deployment")


async def breach_opened(world: World, *, within_s: float) -> bool:
    try:
        return await eventually(
            lambda: world.pool.fetchval("SELECT count(*) > 0 FROM loan_data.breaches"), within_s=within_s
        )
    except AssertionError:
        return False


async def deployed_for_a_breach(world: World) -> str | None:
    version: str | None = await world.pool.fetchval(
        "SELECT d.version FROM loan_data.deployments d JOIN loan_data.training_runs r USING (version) "
        "WHERE r.trigger = 'breach'"
    )
    return version


async def test_rollback_by_command_is_served_in_seconds_and_holds_against_challengers(world: World) -> None:
    await world.start()
    history = await world.first_model()
    await world.decide(loans(1300, first=len(history)))
    await world.served("v2")

    said = await run_command(world, "rollback", "v1")
    await world.served("v1", within_s=5)
    await world.decide(loans(1300, first=len(history) + 1300))
    await eventually(lambda: is_judged(world, "v3"), within_s=90)

    assert "v1 is live" in said
    assert await world.live_at_rest() == "v1"
    newest = await world.pool.fetchrow(
        "SELECT version, kind, pinned FROM loan_data.deployments ORDER BY deployment_seq DESC LIMIT 1"
    )
    assert newest is not None
    assert tuple(newest) == ("v1", "rollback", True)


async def is_judged(world: World, version: str) -> bool:
    judged: bool = await world.pool.fetchval(
        "SELECT EXISTS (SELECT FROM loan_data.model_performance WHERE kind = 'gate' AND version = $1)", version
    )
    return judged


async def run_command(world: World, *arguments: str) -> str:
    environment = os.environ | world.settings  # noqa: TID251 - handed down to the command
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loanloop", *arguments, "--data-dir", str(world.portfolio.parent / "none"),
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await command.communicate()
    assert command.returncode == 0, said.decode()
    return said.decode()


async def test_loan_sent_twice_is_decided_once(world: World) -> None:
    await world.start()
    history = await world.first_model()
    loan = loans(1, first=len(history))[0]

    await world.send(Topic.LOAN_RECEIVED, [loan.received, loan.received])
    await world.decided([loan.event_id])
    by_rest = await world.predict(loan)
    await eventually(lambda: world.pool.fetchval("SELECT count(*) > 0 FROM loan_data.duplicates"))

    decisions = await world.pool.fetch("SELECT decision_id, channel FROM loan_data.predictions")
    assert [str(row["decision_id"]) for row in decisions] == [by_rest.json()["decision_id"]]
