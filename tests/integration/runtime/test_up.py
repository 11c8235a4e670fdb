"""`loanloop up` ends with one sentence where another start would be in vain, and stays with what it was begun with."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path

import psutil
import pytest
from loanloop.runtime.data_directory import DataDirectory

from tests.support.tiny_portfolio import write_tiny_portfolio

pytestmark = [pytest.mark.timeout(300), pytest.mark.embedded]


async def start_up(folder: Path, *options: str) -> Process:
    command = ("loanloop.main", "up", "--data-dir", str(folder), *options)
    return await asyncio.create_subprocess_exec(sys.executable, "-m", *command, stdout=PIPE, stderr=STDOUT)


async def read_until(up: Process, words: bytes) -> None:
    assert up.stdout
    async for line in up.stdout:
        if words in line:
            return
    raise AssertionError(f"it ended before it said {words.decode()!r}")


async def rest_of(up: Process) -> str:
    said, _ = await asyncio.wait_for(up.communicate(), 120)
    return said.decode()


async def refusal(folder: Path, *options: str) -> str:
    up = await start_up(folder, *options)
    said = await rest_of(up)
    assert up.returncode == 1, said
    return said


async def test_up_refuses_another_portfolio_and_forgets_the_refused_one(tmp_path: Path) -> None:
    folder, mine = tmp_path / "data", write_tiny_portfolio(tmp_path)
    mine2 = tmp_path / "mine2.toml"
    mine2.write_text(mine.read_text() + '\n[features.region]\nkind = "category"\n')
    up = await start_up(folder, "--portfolio", str(mine))
    await read_until(up, b"Ctrl-C stops")
    up.send_signal(signal.SIGINT)
    await rest_of(up)

    for options in (("--portfolio", str(mine2)), ("--portfolio", "sba")):
        said = await refusal(folder, *options)
        assert f"start with --portfolio {mine}," in said
        assert "starting Kafka" not in said

    # A folder whose memory is lost is still refused by its database.
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"begun": None}))
    assert "are not those that this data folder was begun with" in await refusal(folder, "--portfolio", str(mine2))
    remembered = DataDirectory(folder).read_run()
    assert remembered is not None
    assert remembered.portfolio == str(mine)


async def test_up_ends_once_the_process_that_holds_everything_is_killed(tmp_path: Path) -> None:
    up = await start_up(tmp_path)
    await read_until(up, b"Ctrl-C stops")
    run = DataDirectory(tmp_path).read_run()
    assert run is not None

    psutil.Process(run.pids["supervisor"]).kill()
    said = await rest_of(up)

    assert up.returncode == 1
    assert said.count("start loanloop again") == 1
    assert "Traceback" not in said
    assert "starting it again" not in said
