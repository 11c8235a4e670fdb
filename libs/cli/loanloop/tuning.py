"""Runs one `loanloop tune`: its loans, its progress on the screen, its result as a table or JSON."""

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from loanloop_common.garbage_collection import spare_collector
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import Pool
from loanloop_ingest.loan_files import open_loan_file
from loanloop_trainer.domain.search_space import Trial, best_of
from loanloop_trainer.model import TrainingData
from loanloop_trainer.store.freeze import Window
from loanloop_trainer.store.only_search import only_search
from loanloop_trainer.store.tunings import TuningStore
from loanloop_trainer.tuning import Begun, Limits, Tuner, begin_or_go_on
from loanloop_trainer.tuning_loans import FROM_DATABASE, Loans, load_from_database, of_file
from rich.console import Console
from rich.table import Table

from loanloop.labelled_loans import read_labelled_loans
from loanloop.operating import Operated, operated, operator_name
from loanloop.tuning_screen import TuningScreen, stop_words

STOPPED_BY_CTRL_C = 130
NICENESS = 5  # what serves goes first, as with the trainer


@dataclass(frozen=True)
class Asked:
    file: Path | None
    trials: int
    seconds: float
    threads: int | None
    seed: int
    anew: bool
    json: bool
    name: str | None  # of who asks


async def search(asked: Asked, data_dir: Path) -> int:
    """The exit code. Raises LoanloopError."""
    os.nice(NICENESS)
    spare_collector()
    async with operated(data_dir) as operating, only_search(operating.pool) as only:
        store = TuningStore(operating.pool, operating.portfolio.name, only)
        begun = await _begun(asked, operating, store)
        screen = TuningScreen(Console(stderr=True), begun, asked.trials, anew=asked.anew)
        tuner = Tuner(store, operating.portfolio, begun, Limits(asked.trials, asked.seconds), asked.threads)
        screen.watch(tuner)
        try:
            with screen:
                best = await tuner.run()
        except asyncio.CancelledError:
            screen.say(stop_words(screen.n_trials, anew=asked.anew))
            return STOPPED_BY_CTRL_C
        _show(asked, operating.portfolio, begun, tuner.trials, best)
    return 0


async def _begun(asked: Asked, operating: Operated, store: TuningStore) -> Begun:
    portfolio = operating.portfolio
    return await begin_or_go_on(
        store,
        portfolio,
        _loader(asked.file, operating.pool, portfolio),
        source=FROM_DATABASE if asked.file is None else f"file {asked.file.name}",
        seed=asked.seed,
        requested_by=operator_name(asked.name),
        anew=asked.anew,
    )


def _loader(file: Path | None, pool: Pool, portfolio: Portfolio) -> Callable[[Window | None], Any]:
    async def load(window: Window | None) -> Loans:
        if file is None:
            return await load_from_database(pool, portfolio, window, _reading)
        print(f"Reading the loans of {file} …", file=sys.stderr)
        return await asyncio.to_thread(_of_file, file, portfolio)

    return load


def _reading(n_loans: int) -> None:
    print(f"Reading {n_loans:,} labelled loans of the database …", file=sys.stderr)


def _of_file(file: Path, portfolio: Portfolio) -> Loans:
    opened = open_loan_file(file)
    with file.open("rb") as contents:
        sha256 = hashlib.file_digest(contents, "sha256").digest()
    loans = read_labelled_loans(opened, portfolio)
    occurred_at, unlabelled_at = (np.array(x, "datetime64[us]") for x in (loans.occurred_at, loans.unlabelled_at))
    data = TrainingData(loans.columns, np.array(loans.defaulted, np.bool_), occurred_at, loans.unlabelled)
    return of_file(data, unlabelled_at, file.name, sha256, portfolio)


def _show(asked: Asked, portfolio: Portfolio, begun: Begun, trials: list[Trial], best: Trial) -> None:
    if asked.json:
        print(msgspec.json.encode(_described(portfolio, begun, trials, best)).decode())
        return
    own = trials[0]
    table = Table("hyperparameter", "file", f"trial {best.number}", title=f"{portfolio.name}, tuning {begun.tuning_id}")
    for name, value in best.values.items():
        table.add_row(name, f"{own.values[name]:.4g}", f"{value:.4g}")
    table.add_row("ROC-AUC, newest loans", _figure(own.score), _figure(best.score))
    Console(highlight=False).print(table)
    said = (
        "the portfolio file's own values are the best" if best.number == own.number else "the next training uses them"
    )
    print(f"{len(trials)} trials on {len(begun.loans.data):,} loans; {said}.")


def _described(portfolio: Portfolio, begun: Begun, trials: list[Trial], best: Trial) -> dict[str, Any]:
    assert best == best_of(trials)
    return {
        "portfolio": portfolio.name,
        "tuning": begun.tuning_id,
        "n_loans": len(begun.loans.data),
        "source": begun.loans.source,
        "best": {"trial": best.number, "hyperparameters": best.values, "roc_auc": best.score},
        "of_file": {"hyperparameters": trials[0].values, "roc_auc": trials[0].score},
        "trials": [
            {"number": t.number, "state": t.state, "hyperparameters": t.values, "roc_auc": t.scores, "took_s": t.took_s}
            for t in trials
        ],
    }


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
