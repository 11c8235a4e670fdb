"""The lines that README, `up` and the demo offer to paste, run as they stand."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import cast

import pytest
from loanloop.runtime.first_steps import first_steps
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.tools import write_tools
from loanloop_common.events import Topic
from loanloop_common.portfolio_file import load_portfolio

from tests.e2e.world import World, loans
from tests.support.eventually import eventually

README = Path(__file__).parents[2] / "README.md"

pytestmark = pytest.mark.timeout(600)


def readme_block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


async def run_shell(line: str) -> str:
    process = await asyncio.create_subprocess_shell(
        line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


def tools_of(world: World) -> Path:
    return write_tools(cast("EmbeddedInfrastructure", world.infrastructure))


async def stored_ids(world: World) -> set[str]:
    rows = await world.pool.fetch("SELECT loan_id FROM loan_data.processed_data")
    return {row["loan_id"] for row in rows}


@pytest.mark.embedded
async def test_readme_shows_two_ways_to_send_a_loan_and_both_arrive(world: World, tmp_path: Path) -> None:
    await world.infrastructure.start_service("ingest", LOANLOOP_POSTGRES__DSN=world.dsn, LOANLOOP_PORTFOLIO="sba")
    script = tmp_path / "producer.py"
    script.write_text(readme_block("python", "AIOKafkaProducer"))
    console = readme_block("sh", "kafka-console-producer").replace(".loanloop/bin", str(tools_of(world)))

    await run_shell(console)
    said = await run_shell(f"{sys.executable} -I {script} {world.infrastructure.kafka_bootstrap}")
    await world.send(Topic.LOAN_OUTCOME, [json.loads(readme_block("json", '"defaulted"'))])

    assert re.search(r"sent to loan.received, partition \d, offset \d", said)
    await eventually(lambda: both_stored(world), within_s=30)
    await eventually(lambda: outcome_stored(world), within_s=30)
    assert await world.pool.fetchval("SELECT count(*) FROM loan_data.rejected") == 0


async def test_readme_s_program_says_how_to_call_it(tmp_path: Path) -> None:
    script = tmp_path / "producer.py"
    script.write_text(readme_block("python", "AIOKafkaProducer"))

    said = await run_shell(f"{sys.executable} -I {script} 2>&1 || true")

    assert said.startswith("usage: python ")


async def both_stored(world: World) -> bool:
    return {"my-1", "my-2"} <= await stored_ids(world)


async def outcome_stored(world: World) -> bool:
    labelled: bool | None = await world.pool.fetchval(
        "SELECT defaulted IS FALSE FROM loan_data.processed_data WHERE loan_id = 'my-1'"
    )
    return bool(labelled)


@pytest.mark.embedded
async def test_lines_that_up_and_the_demo_print_send_a_loan_and_show_its_decision(world: World) -> None:
    await world.start()
    history = await world.first_model()
    steps = first_steps(load_portfolio(world.portfolio), tools=tools_of(world), rest_url=world.infrastructure.rest_url)

    await run_shell(steps.produce)
    answer = await run_shell(steps.predict)
    await eventually(lambda: world.pool.fetchval("SELECT count(*) = 2 FROM loan_data.predictions"), within_s=30)
    await world.decide(loans(1, first=len(history)))
    shown = await run_shell(f"{steps.consume} --timeout-ms 8000 || true")

    assert '"decision"' in answer
    assert shown.count('"loan_event_id"') >= 3
    assert str(Topic.LOAN_RECEIVED) in steps.produce
