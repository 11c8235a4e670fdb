"""What docs/runbooks says of containers, run as it stands, on the deployment that the tests before have used."""

import json
import tarfile
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.compose.conftest import ROOT, Deployment, n_decided, send, version_served
from tests.e2e.world import Loan, loans
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(3000)


async def test_a_destroyed_database_comes_back_as_the_runbook_says(deployment: Deployment, history: list[Loan]) -> None:
    await deployment.compose("exec", "-T", "backup", "loanloop", "backup", "--to", "/backups")
    await deployment.shell(in_containers("database-failure.md"))

    status = json.loads(await deployment.compose("run", "--rm", "-T", "--no-deps", "loanloop", "status", "--json"))
    assert int(status["loans"]["stored"]) >= len(history)
    async with httpx.AsyncClient(base_url=deployment.url("REST"), timeout=10) as client:

        async def serves_again() -> bool:
            return await version_served(client) == "v1"

        await eventually(serves_again, within_s=60)


def in_containers(runbook: str, part: str = "compose") -> str:
    """The commands of its part about containers."""
    _, _, behind = (ROOT / "docs" / "runbooks" / runbook).read_text().partition(f"```sh {part}\n")
    commands, _, _ = behind.partition("```")
    assert commands
    return commands


# A server that logs what changes it, as many do. Roles and passwords are among that.
LOG_ALL_DDL = """
docker compose exec -T postgres psql --quiet --username loanloop <<'SQL'
ALTER SYSTEM SET log_statement = 'ddl';
SELECT pg_reload_conf();
SQL
docker compose exec -T postgres psql --quiet --username loanloop --command 'CREATE TEMP TABLE ddl_is_logged ()'
"""


async def test_a_renewed_password_is_the_only_one_that_lets_in(deployment: Deployment) -> None:
    read = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "cat", "migrations", "/run/secrets/loanloop/password")
    former = await deployment.compose(*read)
    await deployment.shell(LOG_ALL_DDL)
    await deployment.shell(in_containers("renewed-passwords.md"))
    await deployment.shell(in_containers("renewed-passwords.md", part="owner"))

    address = f"postgresql://loanloop@127.0.0.1:{deployment.ports['POSTGRES_PORT']}/loanloop"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(address, password=former)
    owner = await asyncpg.connect(address, password=await deployment.compose(*read))
    try:
        users = await owner.fetch("SELECT usename FROM pg_stat_activity WHERE application_name = 'loanloop-ingest'")
    finally:
        await owner.close()
    assert {row["usename"] for row in users} == {"ingest"}
    logged = await deployment.compose("logs", "--no-log-prefix", "postgres")
    assert "ddl_is_logged" in logged
    assert "PASSWORD" not in logged


async def test_a_backup_leaves_its_volume_and_comes_back_readable(deployment: Deployment, tmp_path: Path) -> None:
    """The place of the other machine is taken by a volume without that backup."""
    await deployment.compose("exec", "-T", "backup", "loanloop", "backup", "--to", "/backups")
    await deployment.shell(in_containers("database-failure.md", part="take-out"), folder=tmp_path)
    with tarfile.open(tmp_path / "backup.tar") as archive:
        name = archive.getnames()[0]
        archive.extractall(tmp_path, filter="data")
    await deployment.compose("exec", "-T", "backup", "rm", "-r", f"/backups/{name}")

    (untar,) = [
        line for line in in_containers("database-failure.md", part="put-in").splitlines() if "backup.tar" in line
    ]
    await deployment.shell(untar, folder=tmp_path)
    assert "checked" in await deployment.compose(
        "exec", "-T", "backup", "loanloop", "backup", "--check", f"/backups/{name}"
    )

    (tmp_path / name).rename(tmp_path / f"{name}-copied")
    await deployment.compose("cp", str(tmp_path / f"{name}-copied"), "backup:/backups/")
    look = "docker compose exec -T backup loanloop backup --list --to /backups 2>&1"
    refused = await deployment.shell(look)
    assert (
        f"/backups/{name}-copied cannot be read (Permission denied): it is user 0's and this is user 10001" in refused
    )
    assert f"/backups/{name}  " in refused
    await deployment.shell(in_containers("database-failure.md", part="give-over"))
    assert f"/backups/{name}-copied  " in await deployment.shell(look)


async def test_a_poison_message_is_mended_as_the_runbook_says(
    deployment: Deployment, history: list[Loan], tmp_path: Path
) -> None:
    (poisoned,) = loans(1, first=7000)
    await send(deployment.kafka, [poisoned.received | {"features": poisoned.features | {"share": 1.5}}])

    async def letters() -> list[str]:
        listed = await deployment.compose("run", "--rm", "-T", "--no-deps", "loanloop", "dlq", "list", "--json")
        return [letter["message"] for letter in json.loads(listed)]

    await eventually(letters, within_s=60, every_s=1)
    assert "features.share = 1.5" in (await letters())[0]

    said = await deployment.shell(in_containers("poison-messages.md"), folder=tmp_path)

    assert "was sent to loan.received" in said
    assert await letters() == []


async def test_a_corrupt_model_is_mended_as_the_runbook_says(deployment: Deployment, history: list[Loan]) -> None:
    await deployment.compose("exec", "-T", "backup", "loanloop", "backup", "--to", "/backups")
    corrupt = "UPDATE loan_data.model_metadata SET bundle = substr(bundle, 2)"
    psql = ("psql", "--username", "loanloop", "--dbname", "loanloop", "--command", corrupt)
    assert "UPDATE 1" in await deployment.compose("exec", "-T", "postgres", *psql)

    said = await deployment.shell(in_containers("corrupt-model.md"))

    assert "UPDATE 1" in said
    async with httpx.AsyncClient(base_url=deployment.url("REST"), timeout=10) as client:
        assert await version_served(client) == "v1"


async def test_a_service_is_started_again_as_the_runbook_says(deployment: Deployment, history: list[Loan]) -> None:
    await deployment.compose("kill", "--signal", "SIGSTOP", "predictor")

    await deployment.shell(in_containers("service-failure.md"))

    async with httpx.AsyncClient(base_url=deployment.url("REST"), timeout=10) as client:
        assert await version_served(client) == "v1"


async def test_a_lost_broker_is_replaced_as_the_runbook_says(deployment: Deployment, history: list[Loan]) -> None:
    await deployment.shell(in_containers("broker-loss.md"))

    new = loans(20, first=8000)
    before = await n_decided(deployment)
    await send(deployment.kafka, [loan.received for loan in new])

    async def all_are_decided() -> bool:
        return await n_decided(deployment) >= before + len(new)

    await eventually(all_are_decided, within_s=120, every_s=1)
