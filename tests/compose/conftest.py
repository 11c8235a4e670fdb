"""docker-compose.yml itself, brought up once, on ports of its own and with a portfolio that is learnt in seconds."""

import asyncio
import json
import os
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.tiny_portfolio import write_tiny_portfolio

ROOT = Path(__file__).parents[2]
UP_WITHIN_S = 2400  # the images are built in it, the first time
PORTS = ("REST", "KAFKA", "POSTGRES", "PROMETHEUS", "ALERTMANAGER", "GRAFANA", "PAGE")
SERVICES = ("ingest", "predictor", "evaluator", "trainer")


class ComposeFailed(AssertionError):
    """A `docker compose` ended badly; its last lines say why."""


@dataclass
class Deployment:
    project: str
    override: Path
    ports: dict[str, int]
    env: dict[str, str] = field(default_factory=dict)

    async def compose(self, *arguments: str, within_s: float = 300) -> str:
        return await self._run("docker", "compose", *arguments, within_s=within_s)

    async def shell(self, commands: str, *, within_s: float = 600) -> str:
        """As a user pastes them, to the first that fails."""
        return await self._run("bash", "-euo", "pipefail", "-c", commands, within_s=within_s)

    async def _run(self, *argv: str, within_s: float) -> str:
        files = f"{ROOT / 'docker-compose.yml'}:{self.override}"
        which = {"COMPOSE_PROJECT_NAME": self.project, "COMPOSE_FILE": files}
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=os.environ | self.env | which, cwd=ROOT,  # noqa: TID251 - of docker, not settings of ours
        )  # fmt: skip
        said, of_compose = await asyncio.wait_for(process.communicate(), within_s)
        if process.returncode:
            raise ComposeFailed(f"{' '.join(argv)}: {(said + of_compose).decode()[-3000:]}")
        return said.decode()

    def url(self, of: str) -> str:
        return f"http://127.0.0.1:{self.ports[of]}"


def _free_ports(n: int) -> list[int]:
    """Held until all are chosen, so that no two are the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _override(portfolio: Path) -> str:
    mounted = {"volumes": [f"{portfolio}:/portfolio.toml:ro"]}
    quick = {"LOANLOOP_TRAINER__POLL_S": "0.5", "LOANLOOP_EVALUATOR__POLL_S": "0.5"}
    services = {name: {**mounted, "environment": quick} for name in (*SERVICES, "page", "backup", "loanloop")}
    return json.dumps({"services": services})  # JSON is YAML


@pytest.fixture(scope="session")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    folder = tmp_path_factory.mktemp("compose")
    folder.chmod(0o755)
    portfolio = write_tiny_portfolio(folder)
    portfolio.chmod(0o644)
    (folder / "override.json").write_text(_override(portfolio))
    ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
    made = Deployment(f"loanloop-test-{uuid.uuid4().hex[:8]}", folder / "override.json", ports)
    made.env = {f"LOANLOOP_{name}_PORT": str(port) for name, port in ports.items()}
    made.env["LOANLOOP_PORTFOLIO"] = "/portfolio.toml"
    try:
        await made.compose("up", "--build", "--wait", within_s=UP_WITHIN_S)
        yield made
    finally:
        await made.compose("down", "--volumes", "--remove-orphans")
