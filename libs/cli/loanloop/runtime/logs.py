"""Log files of the child processes."""

from pathlib import Path

KEEP_BYTES = 10 << 20


def new_log(path: Path) -> None:
    """Puts a log that has grown large aside before its process starts; the one before that goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > KEEP_BYTES:
        path.replace(path.with_suffix(".1.log"))


def last_line(path: Path) -> str:
    """The last line that is not empty, shortened."""
    lines = [line for line in path.read_text(errors="replace")[-4000:].splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "no output"
