"""The loop turns with each service, and the operator, logged in as a user that may do what is its own alone: in the
database by the roles of the migrations, in Kafka by the rights of deploy/kubernetes.
"""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from loanloop_common.events import Topic
from loanloop_common.kafka import create_topics, make_broker, publish_batch, stop_broker
from loanloop_common.kafka.broker import admin_client, connection_options
from loanloop_common.postgres import create_pool, grant_roles
from loanloop_common.settings import KafkaSettings

from tests.e2e.test_loop_turns import run_command
from tests.e2e.world import QUICK, SERVICES, World, loans
from tests.support.database_users import PASSWORD, as_user, make_user
from tests.support.eventually import eventually
from tests.support.guarded_kafka import GuardedKafka, guarded_kafka
from tests.support.infrastructure import Backend, database_name, fresh_database
from tests.support.kubernetes import named
from tests.support.tiny_portfolio import write_tiny_portfolio

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuardedKafka]:
    async with guarded_kafka(tmp_path_factory.mktemp("guarded")) as kafka:
        yield kafka


@pytest.fixture
async def guarded_world(
    infrastructure: Backend, database: str, kafka: GuardedKafka, tmp_path: Path
) -> AsyncIterator[World]:
    pool = await create_pool(database, application_name="test")
    await pool.execute(f"REVOKE TEMPORARY ON DATABASE {database_name(database)} FROM PUBLIC")
    broker = make_broker(KafkaSettings(bootstrap_servers=kafka.bootstrap), service="test")
    await broker.connect()
    try:
        yield World(
            infrastructure, database, pool, broker, write_tiny_portfolio(tmp_path, epochs=6, learning_rate=1e-2)
        )
    finally:
        await infrastructure.stop_services()
        await stop_broker(broker)
        await pool.close()


async def test_loop_turns_under_the_least_privileges(
    guarded_world: World, kafka: GuardedKafka, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world, owner = guarded_world, guarded_world.dsn
    await grant_roles(owner)
    connection = await asyncpg.connect(owner)
    for member in (*SERVICES, "operator", "backup"):
        await make_user(connection, f"as_{member}", f"loanloop_{member}")
    await connection.close()

    monkeypatch.setenv("PGPASSWORD", PASSWORD)  # as from a Secret: no address has it
    for service in SERVICES:
        world.dsn = without_password(as_user(owner, f"as_{service}"))
        given = {"PGPASSWORD": PASSWORD, "LOANLOOP_POSTGRES__READ_ONLY_DSN": that_only_reads(world.dsn)}
        given |= QUICK | kafka.settings_of(service)
        await world.infrastructure.start_service(service, **world.settings, **given)
    world.dsn = without_password(as_user(owner, "as_operator"))
    await waits_for_topics(world)
    await create_topics(kafka.bootstrap)
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
    log_in(monkeypatch, kafka, "operator")
    await run_command(world, "dlq", "replay", place)
    await run_command(world, "retrain", "--wait")
    await world.served("v2")
    await run_command(world, "rollback", "v1")
    await run_command(world, "unpin")
    await run_command(world, "promote", "v2", "--reason", "to see that it may")
    monkeypatch.setenv("LOANLOOP_POSTGRES__READ_ONLY_DSN", that_only_reads(world.dsn))
    status = await run_command(world, "status")
    world.dsn = without_password(as_user(owner, "as_backup"))
    backup = await run_command(world, "backup", "--to", str(tmp_path / "backups"))

    assert answer.status_code == 200
    await eventually(partial(is_none_waiting, kafka, user="scaler"), what="a lag of 0, as KEDA sees it")
    assert "v2" in status
    assert "2 models, " in backup
    assert await eventually(lambda: world.pool.fetchval("SELECT count(*) = 0 FROM loan_data.outbox"))
    users = await world.pool.fetch(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'loanloop-%' AND usename LIKE 'as_%'"
    )
    assert {row[0] for row in users} == {f"as_{service}" for service in SERVICES}
    for service in SERVICES:
        log = world.infrastructure.log_of(service).read_text()
        assert "permission denied" not in log, log[-2000:]
        assert "AuthorizationFailed" not in log, log[-2000:]
        assert "read-only transaction" not in log, log[-2000:]
        assert "replica_not_used" not in log, log[-2000:]

    await world.infrastructure.stop_services()
    log_in(monkeypatch, kafka, "restorer")
    (folder,) = (tmp_path / "backups").glob("loanloop-*")
    async with fresh_database(world.infrastructure) as world.dsn:
        assert "predictor goes on at" in await run_command(world, "restore", str(folder))


def log_in(monkeypatch: pytest.MonkeyPatch, kafka: GuardedKafka, user: str) -> None:
    for name, value in kafka.settings_of(user).items():
        monkeypatch.setenv(name, value)


async def waits_for_topics(world: World) -> None:
    """No service may create one: each says what it waits for."""
    for service in SERVICES:
        await eventually(partial(says_so, world.infrastructure.log_of(service)), within_s=60, what=service)


async def is_none_waiting(kafka: GuardedKafka, *, user: str) -> bool:
    """Of all that KEDA asks for."""
    settings, lags = kafka.login_of(user), []
    consumer = AIOKafkaConsumer(**connection_options(settings))
    await consumer.start()
    try:
        async with admin_client(settings) as admin:
            for trigger in (each for one in named("ScaledObject").values() for each in one["spec"]["triggers"]):
                committed = await admin.list_consumer_group_offsets(trigger["metadata"]["consumerGroup"])
                of_topic = [at for at in committed if at.topic == trigger["metadata"]["topic"]]
                ends = await consumer.end_offsets(of_topic)
                lags.append(sum(ends[at] - committed[at].offset for at in of_topic))
                assert of_topic, trigger
    finally:
        await consumer.stop()
    return lags == [0, 0, 0]


def without_password(dsn: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}"))


def that_only_reads(dsn: str) -> str:
    """As a replica, which refuses what writes."""
    return f"{dsn}?default_transaction_read_only=on"


def says_so(log: Path) -> bool:
    return "may not create it" in log.read_text()
