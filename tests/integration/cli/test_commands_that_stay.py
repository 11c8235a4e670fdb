"""Commands that stay write the lines of a service, which are shipped as the services' are."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from loanloop_predictor.domain.access import Role
from loanloop_predictor.domain.access_keys import make_key
from loanloop_predictor.store.keys_file import changed_keys

from tests.support.eventually import eventually
from tests.support.monitoring import free_port


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOANLOOP_LOG_FORMAT", "json")
    return tmp_path / "log"


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


@asynccontextmanager
async def running(log: Path, *command: str) -> AsyncIterator[None]:
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loanloop", *command, cwd=log.parent, stderr=stderr
        )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def test_the_page_logs_whom_it_refuses(log: Path) -> None:
    port, keys_file = free_port(), log.with_name("keys")
    with changed_keys(keys_file) as keys:
        keys["viewer"] = make_key("viewer", Role.READ, bytes(32))[1]

    async with httpx.AsyncClient() as client:

        async def refused() -> bool:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/snapshot.json")).status_code == 401
            except httpx.TransportError:
                return False

        async with running(log, "page", "--port", str(port), "--keys-file", str(keys_file)):
            await eventually(refused)
            (line,) = await eventually(lambda: lines_of(log))

    assert (line["event"], line["service"], line["path"]) == ("request_refused", "page", "/snapshot.json")


async def test_what_takes_the_backups_logs_why_there_is_none_and_measures_their_disk(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOANLOOP_POSTGRES__DSN", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    monkeypatch.setenv("LOANLOOP_KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("LOANLOOP_TELEMETRY__PORT", str(port := free_port()))

    async with running(log, "backup", "--to", ".", "--every", "24"), httpx.AsyncClient() as client:
        (line,) = await eventually(lambda: lines_of(log))
        metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text

    assert (line["event"], line["service"], line["level"]) == ("backup_failed", "backup", "warning")
    assert line["error"].startswith("PostgreSQL does not take the connection")
    (free,) = re.findall(r'^loanloop_disk_free_bytes{folder="\."} (\S+)$', metrics, re.MULTILINE)
    assert float(free) > 0
