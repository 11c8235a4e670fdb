"""What a benchmark found, as it is kept in bench/results/NAME.json."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from loanloop_common.errors import LoanloopError

from bench.machine import machine, versions
from bench.peers import pinned_versions
from bench.whole_files import write_whole

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]  # of a table: its columns by name


@dataclass(frozen=True)
class Goal:
    """A figure and its bound: mostly a ratio of the same run; a time in ms or rows a second is of its machine.

    `not_judged`: why this machine can't tell; then it counts neither as reached nor as missed.
    """

    what: str
    value: float | None
    bound: float
    is_reached_when: Literal[">=", "<="] = ">="
    not_judged: str | None = None

    @property
    def reached(self) -> bool:
        if self.value is None or self.not_judged:
            return False
        return self.value >= self.bound if self.is_reached_when == ">=" else self.value <= self.bound


def why_not_judged(*, whole: bool) -> str | None:
    """For goals of quality, which a part of the loans can't tell."""
    return None if whole else "a part of the loans or splits; --long --loans FILE judges by all"


@dataclass(frozen=True)
class Found:
    """`rows` is a table; `bars` names its label and value columns for a plot. `sizes` says what was measured on.

    `pictures`: files in RESULTS that the benchmark has drawn itself. `columns`: what those of the table hold, where
    they don't say so themselves. `details` are kept, not shown. `peers`: the environments that were asked for.
    """

    goals: tuple[Goal, ...]
    rows: list[Row]
    sizes: dict[str, Any]
    bars: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    peers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    name: str
    title: str
    found: Found
    long: bool
    took_s: float
    at: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    def to_dict(self) -> dict[str, Any]:
        goals = [{**asdict(goal), "reached": goal.reached} for goal in self.found.goals]
        about = {"name": self.name, "title": self.title, "at": self.at, "long": self.long, "took_s": self.took_s}
        return {
            **about,
            "goals": goals,
            **{name: value for name, value in asdict(self.found).items() if name not in ("goals", "peers")},
            "machine": machine(),
            "versions": versions(),
            "peer_versions": {name: pinned_versions(name) for name in self.found.peers},
        }


class ResultDamaged(LoanloopError):
    """A file in RESULTS is none of a benchmark's results."""

    def __init__(self, path: Path, damage: ValueError) -> None:
        super().__init__(f"{path} is damaged ({damage}): delete it, or run `loanloop bench {path.stem}` again")


def keep(result: Result) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result.name}.json"
    write_whole(path, (json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n").encode())
    return path


def kept() -> list[dict[str, Any]]:
    """The newest result of each benchmark that has one. Raises ResultDamaged."""
    return [_read(path) for path in sorted(RESULTS.glob("*.json"))]


def _read(path: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_text())
    except ValueError as damage:
        raise ResultDamaged(path, damage) from damage
    return result
