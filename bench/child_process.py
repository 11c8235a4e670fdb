"""Figures that a program takes in a process of its own: it prints them as JSON, in its last line."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loanloop_common.errors import LoanloopError

_TOLD_LINES = 15


class NoFigures(LoanloopError):
    """The program gave none; the text ends with the last lines of what it wrote to stderr."""

    def __init__(self, command: Sequence[str], what: str, stderr: str) -> None:
        program = " ".join([Path(command[0]).name, *command[1:3]])
        told = "\n".join(stderr.strip().splitlines()[-_TOLD_LINES:])
        super().__init__(f"{program} {what}: {told or 'nothing in stderr'}")


def ended_well(
    command: Sequence[str],
    *,
    within_s: float | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """`folder`: where it runs; `environment`: None: this process's. Raises NoFigures."""
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=within_s, cwd=folder, env=environment
        )
    except subprocess.TimeoutExpired as late:
        written = late.stderr or b""  # bytes, whatever was asked for
        raise NoFigures(command, f"had not ended after {late.timeout:g} s", written.decode(errors="replace")) from late
    if ended.returncode:
        raise NoFigures(command, f"ended with {ended.returncode}", ended.stderr)
    return ended


def figures_of(command: Sequence[str], *, within_s: float | None = None, folder: Path | None = None) -> dict[str, Any]:
    """`folder`: where it runs. Raises NoFigures."""
    ended = ended_well(command, within_s=within_s, folder=folder)
    if not ended.stdout.strip():
        raise NoFigures(command, "printed nothing", ended.stderr)
    figures: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return figures
