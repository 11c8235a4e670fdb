"""Model quality on a file of loans, out of time.

    bench/quality.py portfolios/sba/loans.parquet --train 2002:2004
    bench/quality.py FULL.parquet --train 2001:2002 --test 2003 --set epochs=4 --set dropout=0.2

Without --test the newest tenth of the training years is left out and judged, as the evaluator's gate does.
Prints progress, then one line of JSON.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import structlog
from loanloop_common.bundle import unpack
from loanloop_common.portfolio import ModelConfig, Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.scoring import Scorer
from loanloop_trainer.domain.calibration import validation_metrics
from loanloop_trainer.domain.split import split_by_day
from loanloop_trainer.model import Hooks, Progress, TrainingData, export, train

Judged = dict[str, TrainingData]


def read_loans(path: Path, portfolio: Portfolio) -> TrainingData:
    table = pq.read_table(path)
    columns = {name: table[name].to_pylist() for name in portfolio.features}
    defaulted = table[str(portfolio.file.defaulted)].to_numpy().astype(bool)
    return TrainingData(columns, defaulted, table[portfolio.file.occurred_at].to_numpy().astype("datetime64[us]"))


def within(loans: TrainingData, period: str) -> npt.NDArray[np.bool_]:
    """'2003', '2001:2002' or '2005-07:2008-06'; the last year or month counts in full."""
    first, _, last = period.partition(":")
    begin, end = np.datetime64(first), np.datetime64(last or first) + 1
    mask: npt.NDArray[np.bool_] = (loans.occurred_at >= begin) & (loans.occurred_at < end)
    return mask


def say(progress: Progress) -> None:
    facts = {name: value for name, value in progress.to_dict().items() if value}
    print(*(f"{n}={v:.4g}" if isinstance(v, float) else f"{n}={v}" for n, v in facts.items()), file=sys.stderr)


def judge(bundle_bytes: bytes, loans: TrainingData) -> dict[str, float | None]:
    bundle = unpack(bundle_bytes)
    scorer = Scorer(bundle, threads=2)
    probabilities = scorer.score(bundle.encoder.encode_columns(loans.columns))
    scorer.close()
    return validation_metrics(probabilities, loans.defaulted, bundle.manifest.threshold)


def overridden(portfolio: Portfolio, settings: list[str]) -> Portfolio:
    given: dict[str, Any] = dict(setting.split("=", 1) for setting in settings)
    return portfolio.model_copy(update={"model": ModelConfig(**{**portfolio.model.model_dump(), **given})})


def parsed() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--portfolio", default="sba")
    arguments.add_argument("--train", required=True)
    arguments.add_argument("--test", action="append", default=[])
    arguments.add_argument("--set", action="append", default=[], metavar="HYPERPARAMETER=VALUE")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--threads", type=int, default=2)
    return arguments.parse_args()


def parts_of(loans: TrainingData, portfolio: Portfolio, train: str, test: list[str]) -> tuple[TrainingData, Judged]:
    """What is learnt, and by period what is judged."""
    learnt = loans.rows(within(loans, train))
    if test:
        return learnt, {period: loans.rows(within(loans, period)) for period in test}
    split = split_by_day(learnt.occurred_at, validation_share=portfolio.policy.gate_share)
    return learnt.rows(split.train), {"newest": learnt.rows(split.validation)}


def measured(learnt: TrainingData, judged: Judged, portfolio: Portfolio, *, seed: int, threads: int) -> dict[str, Any]:
    started = time.monotonic()
    trained = train(learnt, portfolio, seed=seed, threads=threads, hooks=Hooks(on_progress=say))
    trained_s = time.monotonic() - started
    bundle_bytes = export(trained, version="v1", code_version="bench")
    return {
        "n_rows": len(learnt),
        "train_s": round(trained_s, 1),
        "export_s": round(time.monotonic() - started - trained_s, 1),
        "bundle_kb": len(bundle_bytes) // 1000,
        "threshold": trained.threshold,
        "validation": trained.metrics,
        "judged": {period: judge(bundle_bytes, part) for period, part in judged.items()},
    }


def main() -> None:
    given = parsed()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    portfolio = overridden(load_portfolio(given.portfolio), given.set)
    learnt, judged = parts_of(read_loans(given.file, portfolio), portfolio, given.train, given.test)
    said = {"portfolio": portfolio.name, "set": given.set, "seed": given.seed, "train": given.train}
    print(json.dumps(said | measured(learnt, judged, portfolio, seed=given.seed, threads=given.threads)))


if __name__ == "__main__":
    main()
