"""An inference engine with its threads: how they share a batch, its speed, and whether a row keeps its bits."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from loanloop_common.bundle import unpack
from loanloop_common.features import EncodedBatch, Floats
from loanloop_common.scoring import Scorer

from bench.runtimes import CHUNK, Logits, Run
from bench.workload import encoded, make_bundle


@dataclass(frozen=True)
class Engine:
    """`make` gives so many functions, each of which scores a chunk on one core while the others do."""

    name: str
    make: Callable[[int], list[Run]]
    chunk: int = CHUNK


class Session:
    """As many of the engine's functions as there are workers; a batch is cut into chunks that they share."""

    def __init__(self, engine: Engine, workers: int) -> None:
        self._chunk = engine.chunk
        self._runs = engine.make(workers)
        self._pool = ThreadPoolExecutor(workers)

    def __call__(self, batch: EncodedBatch) -> Floats:
        return log_odds(self._logits(batch))

    def _logits(self, batch: EncodedBatch) -> Logits:
        starts = range(0, len(batch.x_cat), self._chunk)
        chunks = [batch.rows(slice(start, start + self._chunk)) for start in starts]
        if len(chunks) == 1 or len(self._runs) == 1:
            return np.concatenate([self._runs[0](chunk) for chunk in chunks])
        shares = [chunks[i :: len(self._runs)] for i in range(len(self._runs))]
        scored = list(self._pool.map(lambda run, share: [run(c) for c in share], self._runs, shares))
        in_order = [scored[i % len(scored)][i // len(scored)] for i in range(len(chunks))]
        return np.concatenate(in_order)

    def close(self) -> None:
        self._pool.shutdown()


class Arranged(Protocol):
    """An engine with its threads. It gives the log-odds of default (B,), before calibration."""

    def __call__(self, batch: EncodedBatch, /) -> Floats: ...

    def close(self) -> None: ...


class Served:
    """What the predictor scores with."""

    def __init__(self, threads: int) -> None:
        self._scorer = Scorer(unpack(make_bundle()), threads=threads)

    def __call__(self, batch: EncodedBatch) -> Floats:
        return self._scorer.log_odds(batch)

    def close(self) -> None:
        self._scorer.close()


def log_odds(logits: Logits) -> Floats:
    """(B,) of (B, 2), as the scorer computes them."""
    odds: Floats = (logits[:, 1] - logits[:, 0]).astype(np.float64)
    return odds


def rows_per_s(session: Callable[[EncodedBatch], object], batch: EncodedBatch, *, within_s: float) -> float:
    """The median of five stretches."""
    session(batch)
    n_rows, rates = len(batch.x_cat), []
    for _ in range(5):
        n, started = 0, time.perf_counter()
        while (took := time.perf_counter() - started) < within_s / 5:
            session(batch)
            n += n_rows
        rates.append(n / took)
    return statistics.median(rates)


def same_bits(session: Arranged) -> bool:
    """Whether a row's log-odds don't depend on the batch that it is in: its size, its place, its neighbours."""
    batch = encoded().rows(slice(0, 700))
    whole = session(batch)
    for size in (1, 2, 3, 5, 17, 64, 100, 127, 128, 129, 256, 700):
        if not np.array_equal(session(batch.rows(slice(0, size))), whole[:size]):
            return False
    order = np.random.default_rng(0).permutation(700)
    return np.array_equal(session(batch.rows(order)), whole[order])
