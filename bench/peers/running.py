"""A peer's program as a child process in a folder of its own, until it answers; it and what it started end with it."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from loanloop.runtime.children import Child, Children, Command
from loanloop.runtime.ports import FREE_RANGE, is_free

from bench.peers import PeerUnavailable, environment, program

_READY_WITHIN_S = 90
_NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}  # as bench/__init__.py
_TOLD_LINES = 15


@asynccontextmanager
async def peer_process(
    name: str, *arguments: str, files: dict[str, bytes], installed_as: str, say: Callable[[str], None]
) -> AsyncIterator[tuple[Child, Path]]:
    """The program NAME.py in the environment `installed_as`, in a folder with these files. Gives its log as well."""
    python = await asyncio.to_thread(environment, installed_as, say)
    with tempfile.TemporaryDirectory(prefix="loanloop-peer-", ignore_cleanup_errors=True) as folder:
        path = Path(folder)
        for file_name, content in files.items():
            (path / file_name).write_bytes(content)
        shutil.copy(program(name), path)
        children = await Children.supervised()
        try:
            command = Command(
                argv=[str(python), f"{name}.py", *arguments],
                log=path / "log",
                cwd=path,
                env=_NO_TELEMETRY | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"},  # noqa: TID251 - handed down
            )
            yield await children.start(command), command.log
        finally:
            await children.close()


async def answers(url: str, body: bytes, child: Child, log: Path) -> None:
    """Returns once the server answers the body with 200. Raises PeerUnavailable with the end of its log."""
    deadline = asyncio.get_running_loop().time() + _READY_WITHIN_S
    told = "no answer"
    async with httpx.AsyncClient(timeout=10, headers={"Content-Type": "application/json"}) as client:
        while child.is_running and asyncio.get_running_loop().time() < deadline:
            try:
                answer = await client.post(url, content=body)
            except httpx.HTTPError as error:
                told = repr(error)
            else:
                if answer.status_code == 200:
                    return
                told = answer.text[:500]
            await asyncio.sleep(0.3)
    raise PeerUnavailable(f"{told}; {end_of(log)}")


def end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_TOLD_LINES:])


def three_free_ports() -> int:
    """The first of three neighbours."""
    for port in FREE_RANGE:
        if all(is_free(port + i) for i in range(3)):
            return port
    raise PeerUnavailable("no free ports")
