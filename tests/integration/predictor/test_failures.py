"""Nothing is lost or decided twice when something goes away in mid-stream."""

import asyncio
from functools import partial
from signal import SIGKILL, SIGTERM, Signals

import httpx
import pytest
from loanloop_common.kafka import create_topics, make_broker, stop_broker
from loanloop_common.postgres import Connection, create_pool
from loanloop_common.settings import KafkaSettings

from tests.integration.predictor.versions import make_version
from tests.integration.predictor.world import World, get, predict
from tests.support.eventually import eventually
from tests.support.infrastructure import Backend, fresh_database
from tests.support.loans import as_bytes, make_features, make_loan

pytestmark = pytest.mark.timeout(600)
SMALL_BATCHES = {"LOANLOOP_PREDICTOR__BATCH_RECORDS": "250"}


@pytest.fixture
async def deployed(world: World) -> World:
    await world.deploy(await world.store_model(make_version("v1")), 1)
    return world


@pytest.mark.parametrize("number", [SIGKILL, SIGTERM])
async def test_predictor_that_ends_in_mid_batch_loses_nothing(deployed: World, number: Signals) -> None:
    url = await deployed.start_predictor(**SMALL_BATCHES)
    await deployed.produce(make_loan(n) for n in range(1000))
    await eventually(deployed.n_decided)
    async with deployed.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE loan_data.predictions IN SHARE MODE")
        await deployed.produce(make_loan(n) for n in range(1000, 3000))
        await eventually(partial(_waits_for_a_lock, connection), what="a batch that waits for the lock")
        ending = asyncio.create_task(deployed.infrastructure.kill_service("predictor", number))
        await eventually(partial(_refuses, url), what="the end of REST")
    code = await ending
    assert code == (-9 if number == SIGKILL else 0)
    assert await deployed.n_decided() < 3000

    await deployed.start_predictor(**SMALL_BATCHES)
    await deployed.consumed(3000, within_s=90)
    rows = await deployed.decisions()
    assert len(rows) == len({row["loan_id"] for row in rows}) == 3000
    published = await deployed.ids_published()
    assert set(published) == {str(row["decision_id"]) for row in rows}
    if number == SIGTERM:
        assert max(published.values()) == 1


async def _waits_for_a_lock(connection: Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'loan_data.predictions'::regclass"
        )
    )


async def _refuses(url: str) -> bool:
    try:
        await get(url, "/health")
    except httpx.TransportError:
        return True
    return False


async def test_requests_in_flight_are_answered_at_sigterm(deployed: World) -> None:
    url = await deployed.start_predictor()
    await eventually(deployed.applied)
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        loans = [{"loan_id": str(n), "features": make_features(n)} for n in range(1000)]
        requests = [asyncio.create_task(client.post("/predict/batch", json={"loans": loans})) for _ in range(4)]
        in_flight = deployed.pool.fetchval("SELECT 1 FROM loan_data.predictions LIMIT 1")
        assert await in_flight is None
        await eventually(deployed.n_decided, every_s=0.005)
        await deployed.infrastructure.kill_service("predictor", SIGTERM)
        answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers] == [200] * 4
    assert await deployed.n_decided() == 4000


async def test_two_replicas_share_a_stream_with_duplicates(deployed: World) -> None:
    await asyncio.gather(deployed.start_predictor("one", **SMALL_BATCHES), deployed.start_predictor("two"))
    loans = [make_loan(n % 1500) for n in range(3000)]
    # Under other keys the same event reaches other partitions, so both replicas meet it.
    await deployed.produce_raw([(str(n).encode(), as_bytes(loan)) for n, loan in enumerate(loans)])
    await deployed.consumed(3000, within_s=90)
    rows = await deployed.decisions()
    assert len(rows) == 1500
    assert set(await deployed.ids_published()) == {str(row["decision_id"]) for row in rows}


async def test_replica_that_starts_answers_nobody_before_it_has_the_live_version(deployed: World) -> None:
    url = await deployed.start_predictor()
    first = await get(url, "/health")
    assert first.json()["version"] == "v1"


async def test_without_the_database_503_then_it_recovers_by_itself(own_infrastructure: Backend) -> None:
    await create_topics(own_infrastructure.kafka_bootstrap)
    async with fresh_database(own_infrastructure) as dsn:
        world = await _world(own_infrastructure, dsn)
        await world.deploy(await world.store_model(make_version("v1")), 1)
        url = await world.start_predictor()
        await eventually(world.applied)
        loan = {"loan_id": "a", "features": make_features(1)}
        assert (await predict(url, loan)).status_code == 200

        await own_infrastructure.kill_postgres()
        await world.produce(make_loan(n) for n in range(500))
        refused = await predict(url, loan)
        assert refused.status_code == 503
        assert refused.json()["error"]["kind"] == "unavailable"
        assert (await get(url, "/health")).status_code == 200

        await own_infrastructure.start_postgres()

        async def answers_again() -> bool:
            return (await predict(url, loan)).status_code == 200

        await eventually(answers_again, within_s=30)

        async def all_decided() -> bool:
            return int(await world.pool.fetchval("SELECT count(*) FROM loan_data.predictions")) >= 502

        await eventually(all_decided, within_s=60)
        await own_infrastructure.stop_services()
        await stop_broker(world.broker)
        await world.pool.close()


async def test_rest_answers_while_the_broker_is_away(own_infrastructure: Backend) -> None:
    await create_topics(own_infrastructure.kafka_bootstrap)
    async with fresh_database(own_infrastructure) as dsn:
        world = await _world(own_infrastructure, dsn)
        await world.deploy(await world.store_model(make_version("v1")), 1)
        url = await world.start_predictor()
        await eventually(world.applied)

        await own_infrastructure.kill_kafka()
        answer = await predict(url, {"loan_id": "a", "features": make_features(1)})
        assert answer.status_code == 200

        await own_infrastructure.start_kafka()

        async def published() -> bool:
            return bool(await world.scored())

        await eventually(published, within_s=60, every_s=1)
        await own_infrastructure.stop_services()
        await stop_broker(world.broker)
        await world.pool.close()


async def _world(infrastructure: Backend, dsn: str) -> World:
    broker = make_broker(KafkaSettings(bootstrap_servers=infrastructure.kafka_bootstrap), service="test")
    await broker.connect()
    return World(infrastructure, dsn, await create_pool(dsn, application_name="test"), broker)
