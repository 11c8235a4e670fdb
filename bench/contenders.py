"""The models whose quality is compared: each learns from the same loans and judges the same later ones.

All of them hold out the same newest loans of those they learn from, for calibration and threshold, and learn these too
before they judge; to all of them older loans count as the portfolio says. The network alone chooses more on those held
out: its number of epochs. LightGBM learns 400 trees, a number that is prescribed, and logistic regression chooses
nothing else.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from loanloop_common.bundle import unpack
from loanloop_common.features import MISSING, EncodedBatch, Floats, with_derived
from loanloop_common.portfolio import Portfolio
from loanloop_common.scoring import Scorer
from loanloop_trainer.domain.calibration import fitted_on_validation
from loanloop_trainer.domain.recency import Weights, recency_weights
from loanloop_trainer.domain.split import Split, split_by_day
from loanloop_trainer.model import Hooks, TrainingData, export, train
from loanloop_trainer.model.encoding import fit_encoder
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from bench.child_process import ended_well
from bench.judging import Verdict, verdict
from bench.machine import cores
from bench.peers import environment, program
from bench.whole_files import write_whole

CHECKPOINT_EVERY_S = 20.0
LOGISTIC_MIN_COUNT = 20
LOGISTIC_STEPS = 1000
_ENVIRONMENT = {"PATH": os.defpath, "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class Task:
    """`checkpoint`: a file that an unfinished training is kept in, and goes on from."""

    learnt: TrainingData
    judged: TrainingData
    portfolio: Portfolio
    seed: int
    checkpoint: Path
    say: Callable[[str], None]

    @property
    def split(self) -> Split:
        """The older loans, and the newer ones that the trainer too holds out."""
        return split_by_day(self.learnt.occurred_at, validation_share=self.portfolio.model.validation_share)

    def weights(self, loans: TrainingData) -> Weights:
        return recency_weights(loans.occurred_at, self.portfolio.model.half_life_days)


@dataclass(frozen=True)
class Fit:
    """`train_s`: seconds of learning, with and without the held-out loans; not the same of all.

    Of TabTransformer from the audit of the fields to the exported bundle, calibration included; of one that was cut off
    those up to its last checkpoint and from there on. Of LightGBM its program, from its start to the scores of the
    judged loans, without calibration. Of logistic regression all, its verdict too.
    """

    verdict: Verdict
    train_s: float


Contender = Callable[[Task], Fit]


def tabtransformer(task: Task) -> Fit:
    """The product's own training, judged by the bundle that would be served."""
    elapsed_s = _Elapsed(task.checkpoint.with_suffix(".seconds"))

    def save(checkpoint: bytes) -> None:
        write_whole(task.checkpoint, checkpoint)
        elapsed_s.keep()

    hooks = Hooks(
        save_checkpoint=save,
        checkpoint_every_s=CHECKPOINT_EVERY_S,
        checkpoint=task.checkpoint.read_bytes() if task.checkpoint.is_file() else None,
    )
    trained = train(task.learnt, task.portfolio, seed=task.seed, threads=cores(), hooks=hooks)
    bundle = unpack(export(trained, version="v1", code_version="bench"))
    train_s = elapsed_s()
    scorer = Scorer(bundle, threads=cores())
    try:
        log_odds = scorer.log_odds(bundle.encoder.encode_columns(task.judged.columns))
    finally:
        scorer.close()
    task.checkpoint.unlink(missing_ok=True)
    elapsed_s.forget()
    manifest = bundle.manifest
    return Fit(verdict(log_odds, task.judged.defaulted, manifest.calibration, manifest.threshold), train_s)


class _Elapsed:
    """Seconds of all the runs that a fit took, those that were cut off up to their last checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = float(path.read_text()) if path.is_file() else 0.0
        self._started = time.monotonic()

    def __call__(self) -> float:
        return self._before + time.monotonic() - self._started

    def keep(self) -> None:
        write_whole(self._path, f"{self()}".encode())

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


def lightgbm(task: Task) -> Fit:
    """In an environment of its own. Raises PeerUnavailable where that can't be made, NoFigures where it ends early."""
    python, split = environment("lightgbm", task.say), task.split
    parts = {"train": split.train, "validation": split.validation}
    with tempfile.TemporaryDirectory(prefix="loanloop-bench-") as name:
        folder = Path(name)
        categories = _categories(task.portfolio)
        settings = {"seed": task.seed, "threads": cores(), "categories": categories}
        (folder / "settings.json").write_text(json.dumps(settings))
        learnt = _inputs(task.learnt, task.portfolio, categories)
        learnt = learnt.append_column("defaulted", pa.array(task.learnt.defaulted))
        learnt = learnt.append_column("weight", pa.array(task.weights(task.learnt)))
        for part, rows in parts.items():
            pq.write_table(learnt.filter(pa.array(rows)), folder / f"{part}.parquet")
        pq.write_table(_inputs(task.judged, task.portfolio, categories), folder / "judged.parquet")
        started = time.monotonic()
        # Threads that wait by spinning take the cores from those that still compute.
        ended_well([str(python), "-P", str(program("lightgbm")), str(folder)], environment=_ENVIRONMENT)
        train_s = time.monotonic() - started
        log_odds = np.load(folder / "log_odds.npz")
    chosen = fitted_on_validation(log_odds["validation"], task.learnt.defaulted[split.validation])
    return Fit(verdict(log_odds["judged"], task.judged.defaulted, *chosen), train_s)


def logistic_regression(task: Task) -> Fit:
    """On one column for each value of a category, and the numbers as the network gets them."""
    started = time.monotonic()
    train_part, validation = task.learnt.rows(task.split.train), task.learnt.rows(task.split.validation)
    held_out = _logistic_log_odds(train_part, validation, task)
    chosen = fitted_on_validation(held_out, validation.defaulted)
    judged = _logistic_log_odds(task.learnt, task.judged, task)
    return Fit(verdict(judged, task.judged.defaulted, *chosen), time.monotonic() - started)


def _logistic_log_odds(learnt: TrainingData, asked: TrainingData, task: Task) -> Floats:
    encoder = fit_encoder(task.portfolio.with_model(min_count=LOGISTIC_MIN_COUNT), learnt.columns)
    known = encoder.encode_columns(learnt.columns)
    one_hot = OneHotEncoder(handle_unknown="ignore", dtype=np.float32).fit(known.x_cat)

    def inputs(loans: EncodedBatch) -> csr_matrix:
        numbers = np.column_stack([loans.x_num, loans.x_exact == MISSING]).astype(np.float32)
        return hstack([one_hot.transform(loans.x_cat), csr_matrix(numbers)], format="csr")

    model = LogisticRegression(max_iter=LOGISTIC_STEPS).fit(inputs(known), learnt.defaulted, task.weights(learnt))
    return np.asarray(model.decision_function(inputs(encoder.encode_columns(asked.columns))), np.float64)


CONTENDERS: dict[str, Contender] = {
    "TabTransformer": tabtransformer,
    "LightGBM": lightgbm,
    "logistic regression": logistic_regression,
}


def _categories(portfolio: Portfolio) -> list[str]:
    """Names of the inputs that are no numbers."""
    parts = [portfolio.features.get(name) or portfolio.derived[name] for name in portfolio.model_inputs]
    return [part.name for part in parts if part.kind != "number"]


def _inputs(loans: TrainingData, portfolio: Portfolio, categories: list[str]) -> pa.Table:
    """What the network gets, before its encoder."""
    columns = with_derived(loans.columns, portfolio.derived.values())
    return pa.table(
        {
            name: pa.array(
                [None if value is None else str(value) for value in columns[name]]
                if name in categories
                else np.asarray(columns[name], np.float64),
                from_pandas=True,
            )
            for name in portfolio.model_inputs
        }
    )
