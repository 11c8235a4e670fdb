"""`loanloop replay` shows the stored decision again, as a process of its own."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.predictor.versions import make_version
from tests.integration.predictor.world import World, predict
from tests.support.eventually import eventually
from tests.support.loans import make_features, make_loan

pytestmark = pytest.mark.timeout(600)


async def test_decisions_by_rest_and_stream_replay_to_the_same_bits(world: World, tmp_path: Path) -> None:
    await world.deploy(await world.store_model(make_version("v1")), 1)
    url = await world.start_predictor()
    await eventually(world.applied)
    await predict(url, {"loan_id": "rest", "features": make_features(1)})
    await world.produce([make_loan(2)])
    await eventually(lambda: _n_decided(world, 2))
    await world.deploy(await world.store_model(make_version("v2", slope=2.0)), 2)

    for row in await world.decisions():
        code, answer = await _replay(world, tmp_path, row["decision_id"])
        assert (code, answer["same_bits"], answer["as_promised"]) == (0, True, True)
        assert answer["again"]["probability"] == row["probability"]
        assert answer["version"] == "v1"


async def test_replay_that_differs_on_the_same_engine_fails(world: World, tmp_path: Path) -> None:
    await world.deploy(await world.store_model(make_version("v1")), 1)
    url = await world.start_predictor()
    await eventually(world.applied)
    decision_id = (await predict(url, {"loan_id": "a", "features": make_features(1)})).json()["decision_id"]

    await world.pool.execute("UPDATE loan_data.predictions SET probability = probability + 1e-12")
    code, answer = await _replay(world, tmp_path, decision_id)
    assert (code, answer["same_bits"], answer["same_engine"]) == (1, False, True)

    await world.pool.execute("UPDATE loan_data.predictions SET engine = 'another'")
    code, answer = await _replay(world, tmp_path, decision_id)
    assert (code, answer["same_bits"], answer["as_promised"]) == (0, False, True)


async def _n_decided(world: World, n: int) -> bool:
    return await world.n_decided() == n


async def _replay(world: World, folder: Path, decision_id: Any) -> tuple[int, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loanloop", "replay", str(decision_id), "--json", "--data-dir", str(folder),
        env={"LOANLOOP_POSTGRES__DSN": world.dsn, "LOANLOOP_PORTFOLIO": "sba"},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    return await process.wait(), json.loads(output)
