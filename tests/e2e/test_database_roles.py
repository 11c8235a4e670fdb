"""The loop turns with each service, and the operator, logged in as a user that has its own role alone."""

import asyncpg
import pytest
from loanloop_common.events import Topic
from loanloop_common.kafka import publish_batch
from loanloop_common.postgres import grant_roles

from tests.e2e.test_loop_turns import run_command
from tests.e2e.world import QUICK, SERVICES, World, loans
from tests.support.database_users import as_user, make_user
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(600)


async def test_loop_turns_under_the_least_privileges(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = world.dsn
    await grant_roles(owner)
    connection = await asyncpg.connect(owner)
    for member in (*SERVICES, "operator"):
        await make_user(connection, f"as_{member}", f"loanloop_{member}")
    await connection.close()

    for service in SERVICES:
        world.dsn = as_user(owner, f"as_{service}")
        await world.infrastructure.start_service(service, **world.settings, **QUICK)
    world.dsn = as_user(owner, "as_operator")
    history = loans(1700)
    await world.send(Topic.LOAN_RECEIVED, [loan.history for loan in history])
    await world.served("v1", within_s=300)
    new = loans(60, first=len(history))
    await world.decide(new)
    answer = await world.predict(loans(1, first=9000)[0])
    # What is refused is written by its service, and marked as sent again by the operator.
    await publish_batch(world.broker, Topic.LOAN_RECEIVED, [(b"none", b"no loan")])
    letter = await eventually(lambda: world.pool.fetchrow("SELECT * FROM loan_data.rejected"))
    place = f"{letter['topic']}:{letter['kafka_partition']}:{letter['kafka_offset']}"
    monkeypatch.setenv("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS", world.infrastructure.kafka_bootstrap)
    await run_command(world, "dlq", "replay", place)
    await run_command(world, "retrain", "--wait")
    await world.served("v2")
    await run_command(world, "rollback", "v1")
    await run_command(world, "unpin")
    await run_command(world, "promote", "v2", "--reason", "to see that it may")

    assert answer.status_code == 200
    assert await eventually(lambda: world.pool.fetchval("SELECT count(*) = 0 FROM loan_data.outbox"))
    users = await world.pool.fetch(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'loanloop-%' AND usename LIKE 'as_%'"
    )
    assert {row[0] for row in users} == {f"as_{service}" for service in SERVICES}
    for service in SERVICES:
        log = world.infrastructure.log_of(service).read_text()
        assert "permission denied" not in log, log[-2000:]
