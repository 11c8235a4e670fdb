"""Schemathesis looks for requests that a real predictor answers otherwise than its OpenAPI document says."""

import asyncio
import sys
from pathlib import Path

from loanloop_predictor.domain.access import Role
from loanloop_predictor.domain.access_keys import make_key, written

from tests.integration.predictor.versions import make_version
from tests.integration.predictor.world import World
from tests.support.eventually import eventually

# The same each time: what is found once is found again.
SEED, EXAMPLES = 1, 30
ROOT = Path(__file__).parents[3]


async def test_nothing_is_answered_otherwise_than_the_document_says(world: World, tmp_path: Path) -> None:
    key, kept = make_key("finder", Role.OPERATE, bytes(32))
    keys_file = tmp_path / "keys"
    keys_file.write_text(written([kept]))
    await world.deploy(await world.store_model(make_version("v1")), 1)
    url = await world.start_predictor(
        LOANLOOP_PREDICTOR__KEYS_FILE=str(keys_file), LOANLOOP_PREDICTOR__REQUESTS_PER_S="0"
    )
    await eventually(world.applied)

    looking = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("schemathesis"),
        "run",
        f"{url}/openapi.json",
        f"--header=Authorization: Bearer {key}",
        "--checks=all",
        f"--seed={SEED}",
        f"--max-examples={EXAMPLES}",
        "--continue-on-failure",
        "--no-color",
        cwd=tmp_path,
        env={"SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await looking.communicate())[0].decode()
    assert looking.returncode == 0, said
    assert "Fuzzing" in said
    asked_by = await world.pool.fetch("SELECT DISTINCT requested_by FROM loan_data.predictions WHERE channel = 'rest'")
    assert [row["requested_by"] for row in asked_by] == ["key finder"]
