"""The loop turns in the containers of docker-compose.yml, as a user of it finds them."""

import json

import asyncpg
import httpx
import pytest

from tests.compose.conftest import ROOT, SERVICES, Deployment, n_decided, send, version_served
from tests.e2e.world import Loan, loans
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(3000)
SHOW_THE_KEY = "docker compose run --rm --no-deps --entrypoint cat loanloop /run/secrets/loanloop/api_key"


async def first_key(deployment: Deployment) -> str:
    """As the README says it is shown."""
    assert SHOW_THE_KEY in (ROOT / "README.md").read_text()
    return (await deployment.compose(*SHOW_THE_KEY.split()[2:])).strip()


async def password_of_grafana(deployment: Deployment) -> str:
    """As only Grafana can read it."""
    return await deployment.compose("exec", "-T", "grafana", "cat", "/run/secrets/grafana/password")


async def test_the_first_key_is_shown_where_it_is_asked_for_and_opens_rest(
    deployment: Deployment, history: list[Loan]
) -> None:
    key = await first_key(deployment)
    new = loans(1, first=5000)[0].received
    async with httpx.AsyncClient(base_url=deployment.url("REST"), timeout=10) as client:
        assert (await client.post("/predict", json=new)).status_code == 401
        decided = await client.post("/predict", json=new, headers={"authorization": f"Bearer {key}"})
        assert (decided.status_code, decided.json()["version"]) == (200, "v1")
    assert key not in await deployment.compose("logs", "--no-log-prefix", "passwords")
    assert "all is in /secrets already" in await deployment.compose("run", "--rm", "--no-deps", "passwords")


async def test_a_loan_that_is_produced_from_outside_is_decided(deployment: Deployment, history: list[Loan]) -> None:
    new = loans(50, first=6000)
    await send(deployment.kafka, [loan.received for loan in new])

    async def all_are_decided() -> bool:
        return await n_decided(deployment) >= len(new)

    await eventually(all_are_decided, within_s=120)


async def test_prometheus_reaches_every_service_with_its_own_key(deployment: Deployment) -> None:
    async with httpx.AsyncClient(base_url=deployment.url("PROMETHEUS"), timeout=10) as client:

        async def jobs_up() -> set[str]:
            answer = (await client.get("/api/v1/query", params={"query": "up == 1"})).json()
            return {result["metric"]["job"] for result in answer["data"]["result"]}

        async def all_are_up() -> bool:
            return await jobs_up() >= {*SERVICES, "backup", "prometheus", "alertmanager"}

        await eventually(all_are_up, within_s=120)


async def test_grafana_has_its_sources_and_dashboards(deployment: Deployment) -> None:
    """The stand-in for Grafana's image reads the same files and answers without a login, the real one asks for it."""
    password = await deployment.compose("exec", "-T", "grafana", "cat", "/run/secrets/grafana/admin_password")
    async with httpx.AsyncClient(base_url=deployment.url("GRAFANA"), timeout=10, auth=("admin", password)) as client:
        sources = (await client.get("/api/datasources")).json()
        boards = (await client.get("/api/search", params={"type": "dash-db"})).json()
    assert {source["type"] for source in sources} == {"prometheus", "grafana-postgresql-datasource"}
    assert len(boards) >= 3


async def test_grafanas_user_of_the_database_reads_and_cannot_write(
    deployment: Deployment, history: list[Loan]
) -> None:
    connection = await asyncpg.connect(
        host="127.0.0.1", port=deployment.ports["POSTGRES_PORT"], user="grafana", database="loanloop",
        password=await password_of_grafana(deployment),
    )  # fmt: skip
    try:
        assert await connection.fetchval("SELECT count(*) FROM loan_data.processed_data") >= len(history)
        await connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM loan_data.predictions")
    finally:
        await connection.close()


async def test_each_service_works_under_its_own_name_in_the_database(
    deployment: Deployment, history: list[Loan]
) -> None:
    owner = await asyncpg.connect(
        host="127.0.0.1", port=deployment.ports["POSTGRES_PORT"], user="loanloop", database="loanloop",
        password=await deployment.compose("exec", "-T", "postgres", "cat", "/run/secrets/postgres/password"),
    )  # fmt: skip
    try:
        users = await owner.fetch(
            """
            SELECT DISTINCT application_name AS service, usename AS name FROM pg_stat_activity
            WHERE application_name = ANY (SELECT 'loanloop-' || unnest($1::text[]))
            """,
            list(SERVICES),
        )
    finally:
        await owner.close()
    assert {(user["service"], user["name"]) for user in users} == {(f"loanloop-{name}", name) for name in SERVICES}
    for service in SERVICES:
        assert "permission denied" not in await deployment.compose("logs", "--no-log-prefix", service)


async def test_a_backup_is_there_from_the_first_day_and_can_be_read(deployment: Deployment) -> None:
    async def taken() -> str | None:
        listed = json.loads(
            await deployment.compose(
                "exec", "-T", "backup", "loanloop", "backup", "--list", "--json", "--to", "/backups"
            )
        )
        return str(listed[0]["path"]) if listed else None

    newest = await eventually(taken, within_s=60)
    await deployment.compose("exec", "-T", "backup", "loanloop", "backup", "--check", newest)


async def test_the_page_is_shown_to_whoever_has_a_key(deployment: Deployment, history: list[Loan]) -> None:
    async with httpx.AsyncClient(base_url=deployment.url("PAGE"), timeout=10) as client:
        refused = await client.get("/")
        shown = await client.get("/", auth=("anyone", await first_key(deployment)))
    assert refused.status_code == 401
    assert (shown.status_code, "v1" in shown.text) == (200, True)


async def test_a_killed_predictor_comes_back_with_its_version(deployment: Deployment, history: list[Loan]) -> None:
    await deployment.compose("kill", "--signal", "SIGKILL", "predictor")
    await deployment.compose("up", "--wait", "--no-recreate", "predictor")
    async with httpx.AsyncClient(base_url=deployment.url("REST"), timeout=10) as client:

        async def serves_again() -> bool:
            return await version_served(client) == "v1"

        await eventually(serves_again, within_s=60)


@pytest.mark.parametrize("service", [*SERVICES, "grafana", "prometheus"])
async def test_a_container_cannot_write_to_its_own_files(deployment: Deployment, service: str) -> None:
    said = await deployment.compose("exec", "-T", service, "sh", "-c", "touch /tmp/x && touch /x 2>&1; id -u")
    assert "Read-only file system" in said
    assert said.split()[-1] != "0"
