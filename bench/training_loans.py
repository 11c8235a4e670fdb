"""The loans that the benchmark of training learns from, as a training is given them."""

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from loanloop_common.portfolio import Portfolio
from loanloop_trainer.model import TrainingData

from bench.loans import LoanFile
from bench.workload import PORTFOLIO


@cache
def _by_date(path: Path) -> TrainingData:
    file = LoanFile(path, PORTFOLIO)
    every = file.loans(np.ones(len(file), bool), PORTFOLIO)
    return _taken(every, np.argsort(file.occurred_at, kind="stable"))


def _taken(data: TrainingData, places: npt.NDArray[np.intp]) -> TrainingData:
    chosen = places.tolist()
    columns = {name: [column[i] for i in chosen] for name, column in data.columns.items()}
    return TrainingData(columns, data.defaulted[places], data.occurred_at[places])


def loans(n: int, path: Path) -> TrainingData:
    """The file's first `n` by date of approval, all of them again and again where `n` is larger."""
    by_date = _by_date(path)
    return _taken(by_date, np.arange(n) % len(by_date))


def n_distinct(path: Path) -> int:
    """Of the file: a benchmark of more loans has them several times."""
    return len(_by_date(path))


def portfolio(**changes: object) -> Portfolio:
    """The preset with some hyperparameters changed."""
    return PORTFOLIO.with_model(**changes)
