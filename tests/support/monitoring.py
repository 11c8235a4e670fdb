"""Prometheus' and Alertmanager's own programs, where they are installed."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from loanloop.runtime.ports import FREE_RANGE, is_free

from tests.support.eventually import eventually

# Debian calls one of them by another name.
_NAMES = {"alertmanager": ("alertmanager", "prometheus-alertmanager")}


def program(name: str) -> str:
    """Its path; skips the test, and says so, where there is none."""
    for candidate in _NAMES.get(name, (name,)):
        if path := shutil.which(candidate):
            return path
    pytest.skip(
        f"{name} is not on PATH, so this was not tested: install Debian's prometheus and prometheus-alertmanager."
    )


async def promtool(*arguments: str) -> tuple[int, str]:
    """Its exit code and all that it says."""
    process = await asyncio.create_subprocess_exec(
        program("promtool"), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def free_port() -> int:
    return next(port for port in random.sample(FREE_RANGE, 200) if is_free(port))


@asynccontextmanager
async def running(name: str, folder: Path, config: str, *options: str) -> AsyncIterator[str]:
    """The server's URL; it keeps its data in `folder` and is stopped at the end."""
    path, port = program(name), free_port()
    (folder / f"{name}.yml").write_text(config)
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            path, f"--config.file={name}.yml", f"--web.listen-address=127.0.0.1:{port}", *options,
            cwd=folder, stdout=out, stderr=out,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        await eventually(lambda: _is_ready(url, process, log), within_s=30, what=f"{name} to be ready")
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _is_ready(url: str, process: asyncio.subprocess.Process, log: Path) -> bool:
    assert process.returncode is None, f"it ended: {log.read_text()[-2000:]}"  # noqa: ASYNC240 - a short log
    try:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{url}/-/ready", timeout=2)).status_code == 200
    except httpx.TransportError:
        return False
