"""`loanloop up` ends with one sentence where another start would be in vain, and stays with what it was begun with."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path

import httpx
import psutil
import pytest
import trustme
from loanloop.runtime.data_directory import DataDirectory
from loanloop_predictor.domain.access import Role
from loanloop_predictor.domain.access_keys import make_key
from loanloop_predictor.store.keys_file import changed_keys

from tests.support.eventually import eventually
from tests.support.tiny_portfolio import write_tiny_portfolio

pytestmark = [pytest.mark.timeout(300), pytest.mark.embedded]


async def start_up(folder: Path, *options: str, **env: str) -> Process:
    command = ("loanloop", "up", "--data-dir", str(folder), *options)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=folder.parent,
        env={**os.environ, **env},  # noqa: TID251 - handed down
    )


async def read_until(up: Process, words: bytes) -> str:
    assert up.stdout
    said = b""
    async for line in up.stdout:
        said += line
        if words in line:
            return said.decode()
    raise AssertionError(f"it ended before it said {words.decode()!r}")


async def rest_of(up: Process) -> str:
    said, _ = await asyncio.wait_for(up.communicate(), 120)
    return said.decode()


async def refusal(folder: Path, *options: str, **env: str) -> str:
    up = await start_up(folder, *options, **env)
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


def make_key_in(file: Path) -> None:
    with changed_keys(file) as keys:
        _, keys["web-shop"] = make_key("web-shop", Role.SCORE, bytes(32))


async def health_of(url: str) -> int | None:
    async with httpx.AsyncClient(verify=False) as client:  # the certificate names another host
        try:
            return (await client.get(f"{url}/health")).status_code
        except httpx.TransportError:
            return None


def write_certificate(folder: Path) -> dict[str, str]:
    """Of a host that others ask; the settings by which REST shows it."""
    issued = trustme.CA().issue_cert("loans.example")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "rest.pem")
    return dict.fromkeys(("LOANLOOP_PREDICTOR__TLS_CERT", "LOANLOOP_PREDICTOR__TLS_KEY"), str(folder / "rest.pem"))


async def test_up_shows_addresses_that_answer_and_keeps_its_page_running(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    mlflow = "http://127.0.0.1:9"  # asked once there is a version
    up = await start_up(folder, **write_certificate(tmp_path), MLFLOW_TRACKING_URI=mlflow)
    shown = await read_until(up, b"Ctrl-C stops")
    run = DataDirectory(folder).read_run()
    assert run is not None
    assert f"REST        https://127.0.0.1:{run.ports.rest}  " in shown
    assert f"page        http://127.0.0.1:{run.ports.page}  " in shown
    assert f"--insecure https://127.0.0.1:{run.ports.rest}/predict" in shown
    assert [await health_of(url) for url in (run.rest_url, run.page_url)] == [200, 200]

    psutil.Process(run.pids["page"]).kill()
    await read_until(up, b"page ended with -9")
    await eventually(lambda: health_of(run.page_url), within_s=30)
    mirror = folder / "logs" / "mlflow.log"
    await eventually(lambda: f"mirroring preset sba to {mlflow}" in mirror.read_text(), within_s=60)

    up.send_signal(signal.SIGINT)
    await rest_of(up)
    assert up.returncode == 0
    assert await health_of(run.page_url) is None


BEYOND = {"LOANLOOP_PREDICTOR__HOST": "0.0.0.0"}


async def test_rest_listens_beyond_loopback_where_that_is_asked_for_with_keys_of_the_callers_folder(
    tmp_path: Path,
) -> None:
    folder, asks = tmp_path / "data", BEYOND | {"LOANLOOP_PREDICTOR__KEYS_FILE": "keys"}
    said = await refusal(folder, **asks)
    assert f"there is no file of API keys at {tmp_path}/keys: `loanloop keys new` makes one." in said
    assert not folder.exists()

    make_key_in(tmp_path / "keys")
    up = await start_up(folder, **asks)
    await read_until(up, b"Ctrl-C stops")
    run = DataDirectory(folder).read_run()
    assert run is not None
    assert run.rest_url == f"http://127.0.0.1:{run.ports.rest}"
    other = f"http://127.0.0.2:{run.ports.rest}"
    assert [await health_of(url) for url in (run.rest_url, other)] == [200, 200]
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{other}/model-info")).status_code == 401
    up.send_signal(signal.SIGINT)
    await rest_of(up)

    assert "it would listen on 0.0.0.0 and let in everybody; set LOANLOOP_PREDICTOR__KEYS_FILE" in await refusal(
        folder, **BEYOND
    )
    elsewhere = await refusal(folder, LOANLOOP_PREDICTOR__HOST="192.0.2.7")
    assert "set LOANLOOP_PREDICTOR__HOST to an address or a name of this machine" in elsewhere
    assert "starting Kafka" not in elsewhere


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
