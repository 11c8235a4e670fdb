"""Time and memory of one training, in a process of its own: `python -m bench.training_growth N FILE PRETRAINING`.

It learns for one epoch, after as many of pretraining, on threads alone: what other processes hold is not counted. Each
loan is passed once, however few there are: with the default `min_steps` few loans would cost as much as many.
"""

import json
import sys
import time
from pathlib import Path

from loanloop_trainer.model import train

from bench.child_process import figures_of
from bench.memory import forget_peak, held_bytes, peak_bytes
from bench.training_loans import loans, portfolio

Figures = dict[str, float]


def measured(n: int, path: Path, *, pretrain_epochs: int) -> Figures:
    command = [sys.executable, "-m", "bench.training_growth", str(n), str(path), str(pretrain_epochs)]
    return figures_of(command)


def main() -> None:
    n, path, pretrain_epochs = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    chosen = portfolio(epochs=1, min_steps=0, refit=False, pretrain_epochs=pretrain_epochs)
    train(loans(2000, path), chosen, seed=1)  # what comes once
    data, before = loans(n, path), held_bytes()
    forget_peak()  # the loans themselves apart
    started = time.perf_counter()
    train(data, chosen, seed=1)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes() - before}))


if __name__ == "__main__":
    main()
