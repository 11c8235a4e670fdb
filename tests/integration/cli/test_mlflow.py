"""The mirror, against a real MLflow server in an environment of its own."""

import asyncio
import hashlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from loanloop.mirror.mirror import LIVE, TAG, Mirror
from loanloop_common.bundle import unpack
from loanloop_common.postgres import Pool, create_pool
from loanloop_evaluator.store.models import fetch_version_facts
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.support.bundles import make_bundle
from tests.support.eventually import eventually

MLFLOW = "mlflow==3.17.2"
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
async def mlflow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a server; fetched the first time, which takes a minute or so."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = await asyncio.create_subprocess_exec(
        UV, "tool", "run", "--quiet", "--from", MLFLOW, "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files"),
        "--workers", "1", cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    async def answers() -> bool:
        assert server.returncode is None, f"{MLFLOW} did not start"
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{url}/health", timeout=2)).is_success
        except httpx.HTTPError:
            return False

    try:
        await eventually(answers, within_s=400)
        yield url
    finally:
        if server.returncode is None:
            server.terminate()
            await server.wait()


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await create_pool(database, application_name="test", max_size=2)
    yield pool
    await pool.close()


async def train(pool: Pool, number: int, bundle: bytes) -> None:
    manifest = unpack(bundle).manifest
    run_id = await pool.fetchval(
        "INSERT INTO loan_data.training_runs (trigger, portfolio, state, seed) "
        "VALUES ('labels', 'sba', 'succeeded', 1) RETURNING run_id"
    )
    await pool.execute(
        """
        INSERT INTO loan_data.model_metadata (version, number, run_id, portfolio, schema_hash, train_from, train_to,
                                              n_rows, hyperparameters, metrics, manifest, bundle, bundle_sha256)
        VALUES ($1, $2, $3, 'sba', $4, $5, $6, $7, '{}', '{}', $8, $9, $10)
        """,
        manifest.version, number, run_id, manifest.schema_hash, manifest.train_from, manifest.train_to, manifest.n_rows,
        json.loads(manifest.model_dump_json()), bundle, hashlib.sha256(bundle).digest(),
    )  # fmt: skip


async def judge_and_deploy(pool: Pool, seq: int, version: str) -> None:
    await pool.execute(
        """
        INSERT INTO loan_data.model_performance (kind, version, role, window_from, window_to, n_loans, tp, fp, tn, fn,
                                                 metrics, value, lower, upper, passed, reason)
        VALUES ('gate', $1, 'challenger', now(), now(), 700, 1, 1, 1, 1, '{"f1": 0.83, "roc_auc": 0.96}', 0.83, 0.8,
                0.86, true, 'F1 of 0.830 is at least 0.8')
        """,
        version,
    )
    await pool.execute(
        "INSERT INTO loan_data.deployments (deployment_seq, slot, version, kind, actor, reason, event_id) "
        "VALUES ($1, 'sba', $2, 'deploy', 'test', 'test', $3)",
        seq, version, uuid4(),
    )  # fmt: skip


async def facts_of(pool: Pool) -> Any:
    async with pool.acquire() as connection:
        return await fetch_version_facts(connection, "sba")


async def test_versions_their_figures_the_bundle_and_the_live_one_are_in_mlflow(
    mlflow: str, pool: Pool, tmp_path: Path
) -> None:
    bundles = {version: make_bundle(version=version, seed=int(version[1:])) for version in ("v1", "v2")}
    await train(pool, 1, bundles["v1"])
    mirror = Mirror(mlflow, "sba", bundles.__getitem__)
    client = MlflowClient(mlflow, mlflow)

    assert await asyncio.to_thread(mirror.bring_up_to_date, await facts_of(pool)) == ["v1"]
    await judge_and_deploy(pool, 1, "v1")
    await train(pool, 2, bundles["v2"])
    assert await asyncio.to_thread(mirror.bring_up_to_date, await facts_of(pool)) == ["v1", "v2"]
    assert await asyncio.to_thread(mirror.bring_up_to_date, await facts_of(pool)) == []

    experiment = client.get_experiment_by_name("loanloop-sba")
    assert experiment is not None
    runs = {run.data.tags["loanloop.version"]: run for run in client.search_runs([experiment.experiment_id])}
    manifest = unpack(bundles["v1"]).manifest
    assert set(runs) == {"v1", "v2"}
    assert runs["v1"].data.metrics["gate.f1"] == 0.83
    assert runs["v1"].data.metrics["validation.roc_auc"] == manifest.metrics["roc_auc"]
    assert runs["v1"].data.params["model.d_model"] == str(manifest.hyperparameters["d_model"])
    assert runs["v1"].data.tags["loanloop.gate"] == "passed"
    assert "edited after the outcome" in runs["v1"].data.tags["loanloop.allowed.term_months"]
    assert client.get_model_version_by_alias("loanloop-sba", LIVE).tags["loanloop.version"] == "v1"
    kept = client.download_artifacts(runs["v2"].info.run_id, "bundle/bundle.zip", str(tmp_path))
    assert await asyncio.to_thread(Path(kept).read_bytes) == bundles["v2"]


async def test_what_somebody_deletes_or_moves_in_mlflow_is_put_right_at_the_next_look(
    mlflow: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loanloop.mirror.mirror.PAGE", 1)  # so that all pages count
    bundles = {version: make_bundle(version=version, seed=int(version[1:])) for version in ("v1", "v2")}
    for number, version in enumerate(bundles, 1):
        await train(pool, number, bundles[version])
        await judge_and_deploy(pool, number, version)
    facts, client, name = await facts_of(pool), MlflowClient(mlflow, mlflow), "loanloop-meddled"
    mirror = Mirror(mlflow, "meddled", bundles.__getitem__)

    def look() -> list[str]:
        return mirror.bring_up_to_date(facts)

    def version_of(version: str) -> Any:
        return next(each for each in client.search_model_versions(f"name = '{name}'") if each.tags[TAG] == version)

    assert (await asyncio.to_thread(look), await asyncio.to_thread(look)) == (["v1", "v2"], [])

    client.delete_run(version_of("v1").run_id)
    assert (await asyncio.to_thread(look), await asyncio.to_thread(look)) == (["v1"], [])
    assert client.get_run(version_of("v1").run_id).info.lifecycle_stage == "active"

    client.set_registered_model_alias(name, LIVE, version_of("v1").version)
    assert (await asyncio.to_thread(look), await asyncio.to_thread(look)) == (["v2"], [])
    assert client.get_model_version_by_alias(name, LIVE).tags[TAG] == "v2"

    client.delete_model_version(name, version_of("v2").version)
    assert (await asyncio.to_thread(look), await asyncio.to_thread(look)) == (["v2"], [])
    assert client.get_model_version_by_alias(name, LIVE).tags[TAG] == "v2"
    assert len(client.search_model_versions(f"name = '{name}'")) == 2


async def test_a_mirror_that_was_killed_goes_on_without_a_second_run(mlflow: str, pool: Pool) -> None:
    bundle = make_bundle()
    await train(pool, 1, bundle)
    facts = await facts_of(pool)

    def killed(version: str) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Mirror(mlflow, "killed", killed).bring_up_to_date(facts)
    for _ in range(2):
        Mirror(mlflow, "killed", lambda _: bundle).bring_up_to_date(facts)

    client = MlflowClient(mlflow, mlflow)
    experiment = client.get_experiment_by_name("loanloop-killed")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 1
    assert len(client.search_model_versions("name = 'loanloop-killed'")) == 1


async def test_an_mlflow_that_is_away_is_said_within_seconds(pool: Pool) -> None:
    await train(pool, 1, make_bundle())
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(MlflowException, match="Max retries exceeded"):
        await asyncio.to_thread(Mirror(nobody, "sba", lambda _: b"").bring_up_to_date, await facts_of(pool))
