"""The benchmarks by name. A module of this package has a TITLE and `run(options) -> Found`; it is imported when run."""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.result import Found, Result

NAMES = (
    "quality",
    "pretraining",
    "ensemble",
    "training",
    "engines",
    "stream",
    "rest",
    "latency",
    "ingest",
    "scale",
    "swap",
    "gpu",
)
WITH_SEEDS = ("quality", "pretraining", "ensemble")
WITH_LOANS = (*WITH_SEEDS, "training", "gpu")


@dataclass(frozen=True)
class Options:
    """`long`: all loans and more repetitions, beyond ten minutes. `say` gets a line of progress.

    `loans`: a Parquet file with the columns of the repository's sample, which is used where it is None. `n_seeds`: how
    many seeds each model learns with, the benchmark's own number where it is None.
    """

    long: bool
    say: Callable[[str], None]
    loans: Path | None = None
    n_seeds: int | None = None

    def seeds(self, own: tuple[int, ...]) -> tuple[int, ...]:
        return own if self.n_seeds is None else tuple(range(self.n_seeds))


def title(name: str) -> str:
    said: str = importlib.import_module(f"bench.{name}").TITLE
    return said


def run(name: str, options: Options) -> Result:
    module = importlib.import_module(f"bench.{name}")
    started = time.monotonic()
    found: Found = module.run(options)
    return Result(name, module.TITLE, found, options.long, round(time.monotonic() - started, 1))
