"""Log files of the child processes."""

import re
from pathlib import Path

KEEP_BYTES = 10 << 20
_ERROR = re.compile(r"\b(ERROR|FATAL|PANIC)\b|^(Caused by: )?[\w.$]+(Exception|Error): ")


def new_log(path: Path) -> int:
    """Puts a log that has grown large aside before its process starts; the one before that goes.

    The length of what is there already, in bytes: what comes behind it is of this start.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > KEEP_BYTES:
        path.replace(path.with_suffix(".1.log"))
    return path.stat().st_size if path.exists() else 0


def last_words(path: Path, speaker: str) -> str | None:
    """The last line that begins with `speaker`, without it."""
    lines = path.read_text(errors="replace").splitlines()
    return next((line.removeprefix(speaker) for line in reversed(lines) if line.startswith(speaker)), None)


def why_ended(path: Path, since_byte: int) -> str:
    """What the log of this start says: that the disk is full, else its last error, else its last line, shortened."""
    with path.open("rb") as log:
        log.seek(since_byte)
        lines = [line.strip() for line in log.read(KEEP_BYTES).decode(errors="replace").splitlines() if line.strip()]
    if any("No space left on device" in line for line in lines):
        return "the disk is full: make room, or name a folder on another disk with --data-dir"
    errors = [line for line in lines if _ERROR.search(line)]
    return (errors or lines or ["no output"])[-1][:200]
