"""docker-compose.cluster.yml: with one of three brokers killed in mid-stream nothing is lost, and REST goes on."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.compose.conftest import PORTS, Deployment, deployed, send
from tests.e2e.world import loans
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(3000)
FILES = ("docker-compose.yml", "docker-compose.cluster.yml")


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    ports = (*PORTS, "KAFKA_PORT_2", "KAFKA_PORT_3")
    async with deployed(tmp_path_factory.mktemp("cluster"), *FILES, ports=ports) as made:
        yield made


@pytest.mark.parametrize("broker", ["kafka", "kafka-2", "kafka-3"])
async def test_a_killed_broker_costs_no_loan(cluster: Deployment, broker: str) -> None:
    stored = await loans_stored(cluster)
    first = 10_000 + stored
    await send(cluster.kafka, [loan.received for loan in loans(200, first=first)])
    sending = asyncio.create_task(send(cluster.kafka, [loan.received for loan in loans(600, first=first + 200)]))
    await cluster.compose("kill", "--signal", "SIGKILL", broker)
    await sending
    await send(cluster.kafka, [loan.received for loan in loans(200, first=first + 800)])

    async def all_are_stored() -> bool:
        return await loans_stored(cluster) == stored + 1000

    await eventually(all_are_stored, within_s=120, every_s=1)
    await cluster.compose("up", "--detach", "--wait", "--no-recreate", broker)


async def test_rest_goes_on_behind_the_balancer_with_one_predictor_killed(cluster: Deployment) -> None:
    async with httpx.AsyncClient(base_url=cluster.url("REST"), timeout=10) as client:
        assert (await client.post("/predict", json={})).status_code == 401
        await cluster.shell('docker kill "$(docker compose ps --quiet predictor | head -n 1)"')

        async def answers_again() -> bool:
            return all([(await client.post("/predict", json={})).status_code == 401 for _ in range(20)])

        await eventually(answers_again, within_s=30)


async def loans_stored(cluster: Deployment) -> int:
    status = json.loads(await cluster.compose("run", "--rm", "-T", "--no-deps", "loanloop", "status", "--json"))
    return int(status["loans"]["stored"])
