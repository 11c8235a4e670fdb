"""Peers, each in an environment of its own: bench/peers/NAME.txt pins it, bench/peers/NAME.py runs in it.

A peer's program imports nothing of loanloop: it gets its work in files and answers in files or over the network.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from loanloop_common.errors import LoanloopError

FOLDER = Path(__file__).parent
_ENVIRONMENTS = FOLDER.parent.parent / ".loanloop" / "peers"
_TOLD_LINES = 15
_COMPUTES = ("numpy", "onnxruntime", "torch")


class PeerUnavailable(LoanloopError):
    """The peer can't be installed or run here; the text says why."""


def environment(name: str, say: Callable[[str], None]) -> Path:
    """The interpreter of the peer's environment, which is made at the first call. Raises PeerUnavailable."""
    pinned = FOLDER / f"{name}.txt"
    digest = hashlib.sha256(pinned.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = _ENVIRONMENTS / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if (folder / ".complete").is_file():
        return python
    say(f"installing {name} into an environment of its own")
    shutil.rmtree(folder, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    _run([uv, "venv", "--quiet", "--python", sys.executable, folder], name)
    _run([uv, "pip", "install", "--quiet", "--system-certs", "--python", python, "-r", pinned], name)
    (folder / ".complete").touch()
    return python


def pinned_versions(name: str) -> dict[str, str]:
    """What is pinned of the peer itself, and of what computes in it."""
    pinned = dict(line.split("==") for line in (FOLDER / f"{name}.txt").read_text().splitlines() if "==" in line)
    telling = (name.replace("_", "-"), *_COMPUTES)
    return {package: version for package, version in pinned.items() if package.startswith(telling)}


def program(name: str) -> Path:
    return FOLDER / f"{name}.py"


def _run(command: list[Path | str], name: str) -> None:
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if ended.returncode:
        told = "\n".join((ended.stdout + ended.stderr).strip().splitlines()[-_TOLD_LINES:])
        raise PeerUnavailable(f"{name} can't be installed: {told}")
