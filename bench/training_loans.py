"""The loans that the benchmark of training learns from, as a training is given them."""

from functools import cache

import pyarrow.parquet as pq
from loanloop_common.portfolio import ModelConfig, Portfolio
from loanloop_trainer.model import TrainingData

from bench.workload import PORTFOLIO, SAMPLE


@cache
def _sample() -> TrainingData:
    table = pq.read_table(SAMPLE)
    columns = {name: table[name].to_pylist() for name in PORTFOLIO.features}
    occurred_at = table[PORTFOLIO.file.occurred_at].to_numpy().astype("datetime64[us]")
    return TrainingData(columns, table["defaulted"].to_numpy().astype(bool), occurred_at)


def loans(n: int) -> TrainingData:
    """The sample's first `n` by date of approval, all of them again and again where `n` is larger."""
    sample = _sample()
    chosen = [i % len(sample) for i in range(n)]
    columns = {name: [column[i] for i in chosen] for name, column in sample.columns.items()}
    return TrainingData(columns, sample.defaulted[chosen], sample.occurred_at[chosen])


def portfolio(**changes: object) -> Portfolio:
    """The preset with some hyperparameters changed."""
    model = ModelConfig.model_validate({**PORTFOLIO.model.model_dump(), **changes})
    return PORTFOLIO.model_copy(update={"model": model})
