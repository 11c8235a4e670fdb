"""The compose files themselves, each brought up once, on ports of its own."""

import asyncio
import json
import os
import socket
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from loanloop_common.events import Topic
from loanloop_common.kafka import make_broker, publish_batch, stop_broker
from loanloop_common.settings import KafkaSettings

from tests.e2e.world import Loan, loans
from tests.support.eventually import eventually
from tests.support.tiny_portfolio import write_tiny_portfolio

ROOT = Path(__file__).parents[2]
UP_WITHIN_S = 2400  # the images are built in it, the first time
PORTS = tuple(f"{name}_PORT" for name in ("REST", "PAGE", "KAFKA", "POSTGRES", "PROMETHEUS", "ALERTMANAGER", "GRAFANA"))
SERVICES = ("ingest", "predictor", "evaluator", "trainer")


class ComposeFailed(AssertionError):
    """A `docker compose` ended badly; its last lines say why."""


@dataclass
class Deployment:
    project: str
    files: Sequence[Path]
    ports: dict[str, int]
    env: dict[str, str] = field(default_factory=dict)

    async def compose(self, *arguments: str, within_s: float = 300) -> str:
        return await self._run("docker", "compose", *arguments, within_s=within_s)

    async def shell(self, commands: str, *, folder: Path = ROOT, within_s: float = 600) -> str:
        """As a user pastes them, to the first that fails."""
        return await self._run("bash", "-euo", "pipefail", "-c", commands, folder=folder, within_s=within_s)

    async def _run(self, *argv: str, folder: Path = ROOT, within_s: float) -> str:
        which = {"COMPOSE_PROJECT_NAME": self.project, "COMPOSE_FILE": ":".join(map(str, self.files))}
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=os.environ | self.env | which, cwd=folder,  # noqa: TID251 - of docker, not settings of ours
        )  # fmt: skip
        said, of_compose = await asyncio.wait_for(process.communicate(), within_s)
        if process.returncode:
            raise ComposeFailed(f"{' '.join(argv)}: {(said + of_compose).decode()[-3000:]}")
        return said.decode()

    @property
    def kafka(self) -> str:
        """Each broker's address."""
        return ",".join(f"127.0.0.1:{port}" for name, port in self.ports.items() if name.startswith("KAFKA_PORT"))

    def url(self, of: str) -> str:
        return f"http://127.0.0.1:{self.ports[f'{of}_PORT']}"


async def send(kafka: str, events: Sequence[dict[str, Any]]) -> None:
    """Returns once Kafka has acknowledged them."""
    broker = make_broker(KafkaSettings(bootstrap_servers=kafka), service="test")
    await broker.connect()
    try:
        messages = [(event["loan_id"].encode(), json.dumps(event).encode()) for event in events]
        await publish_batch(broker, Topic.LOAN_RECEIVED, messages)
    finally:
        await stop_broker(broker)


def _free_ports(n: int) -> list[int]:
    """Held until all are chosen, so that no two are the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _override(folder: Path) -> Path:
    """Mounts a small portfolio, which the containers' user can read, and lets the services look often."""
    folder.chmod(0o755)
    portfolio = write_tiny_portfolio(folder)
    portfolio.chmod(0o644)
    mounted = {"volumes": [f"{portfolio}:/portfolio.toml:ro"]}
    quick = {"LOANLOOP_TRAINER__POLL_S": "0.5", "LOANLOOP_EVALUATOR__POLL_S": "0.5"}
    services = {
        name: {**mounted, "environment": quick} for name in (*SERVICES, "page", "backup", "restore", "loanloop")
    }
    file = folder / "override.json"  # JSON is YAML
    file.write_text(json.dumps({"services": services}))
    return file


@asynccontextmanager
async def deployed(folder: Path, *names: str, ports: Sequence[str]) -> AsyncIterator[Deployment]:
    """What the compose files of these names bring up, with a portfolio that is learnt in seconds."""
    override = _override(folder)
    chosen = dict(zip(ports, _free_ports(len(ports)), strict=True))
    made = Deployment(f"loanloop-test-{uuid.uuid4().hex[:8]}", [*(ROOT / name for name in names), override], chosen)
    made.env = {f"LOANLOOP_{name}": str(port) for name, port in chosen.items()}
    made.env["LOANLOOP_PORTFOLIO"] = "/portfolio.toml"
    try:
        await made.compose("up", "--build", "--wait", within_s=UP_WITHIN_S)
        yield made
    finally:
        await made.compose("down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="session")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path_factory.mktemp("compose"), "docker-compose.yml", ports=PORTS) as made:
        yield made


async def version_served(client: httpx.AsyncClient) -> str | None:
    return (await client.get("/health")).json()["version"]  # type: ignore[no-any-return]


async def n_decided(deployment: Deployment) -> int:
    status = json.loads(await deployment.compose("run", "--rm", "-T", "--no-deps", "loanloop", "status", "--json"))
    return int(status["loans"]["decided"])


@pytest.fixture(scope="session")
async def history(deployment: Deployment) -> list[Loan]:
    """Loans with their outcomes, from which the first version was trained, judged and deployed."""
    sent = loans(1700)
    await send(deployment.kafka, [loan.history for loan in sent])
    async with httpx.AsyncClient(base_url=deployment.url("REST"), timeout=10) as client:

        async def is_served() -> bool:
            return await version_served(client) == "v1"

        await eventually(is_served, within_s=600)
    return sent
