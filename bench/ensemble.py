"""Quality of the TabTransformer, of boosted trees, and of both in one bundle, out of time, and what the trees cost.

One training gives all three: the ensemble's network and its trees are also judged alone, each calibrated and with a
threshold of its own. Encoder, early stopping, number of trees, weights and thresholds know the training years alone;
the depth of the trees was chosen by looking at the later ones (docs/decisions/0049).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from loanloop_common.bundle import unpack
from loanloop_common.features import EncodedBatch, Floats
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.resources import SAMPLE
from loanloop_common.scoring import Scorer
from loanloop_trainer.domain.calibration import fitted_on_validation
from loanloop_trainer.domain.split import split_by_day
from loanloop_trainer.model import TrainedModel, TrainingData, export, train
from loanloop_trainer.model.exporting import onnx_of
from loanloop_trainer.model.loans import inputs_of
from loanloop_trainer.model.phases import log_odds
from loanloop_trainer.model.serving_form import ServingForm
from loanloop_trainer.model.workers import Workers

from bench.covering import refuse_uncovered
from bench.engine_sessions import rows_per_s
from bench.judging import FIGURES, verdict
from bench.loans import SPLITS, LoanFile
from bench.machine import cores
from bench.registry import Options
from bench.result import Found, Goal, why_not_judged
from bench.runtimes import CHUNK, Run, onnxruntime_of, openvino_of
from bench.saying import only_errors_logged

TITLE = "TabTransformer, boosted trees, and both in one bundle"
PORTFOLIO = "sba_application"
LEARNT_LOANS = 20_000  # of each split by default, drawn by chance; --long: all
SEEDS = (0, 1, 2)  # by default the first
MODELS = ("network", "trees", "ensemble")
COST_WITHIN_S = 2.0


@dataclass(frozen=True)
class SplitLoans:
    name: str
    learnt: TrainingData
    judged: TrainingData


def splits_of(file: LoanFile, portfolio: Portfolio, *, at_most: int | None) -> Iterator[SplitLoans]:
    """Those that the file covers. All seeds learn the same loans: their spread is that of the training alone."""
    for split in filter(file.covers, SPLITS):
        learnt = file.drawn(file.years(split.first, split.last), at_most, seed=split.judged)
        judged = file.years(split.judged, split.judged)
        yield SplitLoans(str(split), file.loans(learnt, portfolio), file.loans(judged, portfolio))


def log_odds_of(trained: TrainedModel, loans: EncodedBatch) -> dict[str, Floats]:
    """(B,) of each model."""
    assert trained.ensemble is not None
    with Workers() as workers:
        network = log_odds(trained.network, loans, workers)
    trees = trained.ensemble.boosting.log_odds(loans)
    return {"network": network, "trees": trees, "ensemble": trained.ensemble.log_odds(network, loans)}


def rows_of(split: SplitLoans, trained: TrainedModel, seed: int) -> Iterator[dict[str, Any]]:
    assert trained.ensemble is not None
    held_out = split_by_day(
        split.learnt.occurred_at, validation_share=trained.portfolio.model.validation_share
    ).validation
    known = trained.held_out
    later = log_odds_of(trained, trained.encoder.encode_columns(split.judged.columns))
    for model in MODELS:
        chosen = fitted_on_validation(getattr(known, model), split.learnt.defaulted[held_out])
        figures = verdict(later[model], split.judged.defaulted, *chosen).figures
        yield {
            "split": split.name, "seed": seed, "model": model, "learnt": len(split.learnt),
            "judged": len(split.judged), **{name: figures[name] for name in FIGURES},
            "network_share": trained.ensemble.network_share if model == "ensemble" else None,
            "trees": trained.ensemble.boosting.n_trees if model == "trees" else None,
        }  # fmt: skip


def costs(trained: TrainedModel, bundle_bytes: bytes, loans: EncodedBatch) -> list[dict[str, Any]]:
    """Rows a second on one core, network alone and ensemble, in chunks, on both engines."""
    example = inputs_of(loans.rows(slice(0, 4)), trained.network.head.weight.device)
    forms = {"network": onnx_of(ServingForm(trained.network), example), "ensemble": unpack(bundle_bytes).model}
    chunk = loans.rows(slice(0, CHUNK))
    engines: dict[str, Callable[[bytes], Run]] = {
        "OpenVINO": lambda model: openvino_of(model)(1)[0],
        "ONNX Runtime": lambda model: onnxruntime_of(model)(1)[0],
    }
    return [
        {
            "split": f"speed, {engine}",
            "model": form,
            "rows_per_s": rows_per_s(make(model), chunk, within_s=COST_WITHIN_S),
        }
        for engine, make in engines.items()
        for form, model in forms.items()
    ]


def largest_error(trained: TrainedModel, bundle_bytes: bytes, loans: EncodedBatch) -> float:
    """Of a log-odds, between the bundle as it is served and torch with scikit-learn."""
    scorer = Scorer(unpack(bundle_bytes), threads=cores())
    try:
        return float(np.abs(scorer.log_odds(loans) - log_odds_of(trained, loans)["ensemble"]).max())
    finally:
        scorer.close()


@dataclass(frozen=True)
class AsServed:
    """An ensemble in its bundle: rows a second beside its network alone, and how far it is from what was trained."""

    costs: list[dict[str, Any]]
    error: float

    @classmethod
    def of(cls, trained: TrainedModel, loans: EncodedBatch) -> "AsServed":
        bundle_bytes = export(trained, version="v1", code_version="bench")
        return cls(costs(trained, bundle_bytes, loans), largest_error(trained, bundle_bytes, loans))

    @property
    def relative_speed(self) -> float:
        """On OpenVINO, beside its network's."""
        rate = {row["model"]: row["rows_per_s"] for row in self.costs if row["split"] == "speed, OpenVINO"}
        return float(rate["ensemble"] / rate["network"])


def average(rows: list[dict[str, Any]], model: str, measure: str) -> float:
    return float(np.mean([row[measure] for row in rows if row["model"] == model]))


def exceptions(rows: list[dict[str, Any]]) -> list[str]:
    """Where one of the two alone ranks better than both."""
    found = []
    for split, seed in dict.fromkeys((row["split"], row["seed"]) for row in rows):
        of = {row["model"]: row["roc_auc"] for row in rows if (row["split"], row["seed"]) == (split, seed)}
        if (better := max(of["network"], of["trees"])) > of["ensemble"]:
            found.append(f"{split} (seed {seed}): {of['ensemble']:.4f} instead of {better:.4f}")
    return found


def run(options: Options) -> Found:
    with only_errors_logged():
        return compared(options)


def compared(options: Options) -> Found:
    portfolio = load_portfolio(PORTFOLIO)
    both = portfolio.with_model(kind="ensemble")
    file = LoanFile(options.loans or SAMPLE, portfolio)
    refuse_uncovered(file.occurred_at, SPLITS, [*filter(file.covers, SPLITS)])
    rows: list[dict[str, Any]] = []
    at_most = None if options.long else LEARNT_LOANS
    for split in splits_of(file, portfolio, at_most=at_most):
        for seed in options.seeds(SEEDS if options.long else SEEDS[:1]):
            options.say(f"{split.name}, seed {seed}: {len(split.learnt):,} loans …")
            started = time.monotonic()
            trained = train(split.learnt, both, seed=seed)
            rows += rows_of(split, trained, seed)
            figures = ", ".join(f"{row['model']} {row['roc_auc']:.4f}" for row in rows[-len(MODELS) :])
            took_s = time.monotonic() - started
            options.say(f"{split.name}, seed {seed}: {took_s:.0f} s, ROC-AUC {figures}")
    of_the_last = AsServed.of(trained, trained.encoder.encode_columns(split.judged.columns))
    return result_of(rows, of_the_last, len(file), at_most)


def result_of(rows: list[dict[str, Any]], as_served: AsServed, n_loans: int, at_most: int | None) -> Found:
    means: list[dict[str, Any]] = [
        {"split": "average", "model": model, **{name: average(rows, model, name) for name in FIGURES}}
        for model in MODELS
    ]
    alone = max(average(rows, "network", "roc_auc"), average(rows, "trees", "roc_auc"))
    return Found(
        goals=(
            Goal(
                "ROC-AUC, average: ensemble − the better one alone",
                means[-1]["roc_auc"] - alone,
                0.0,
                not_judged=why_not_judged(
                    whole=at_most is None and {row["split"] for row in rows} == {*map(str, SPLITS)}
                ),
            ),
            Goal("rows/s on OpenVINO: ensemble / network", as_served.relative_speed, 0.75),
            Goal("log-odds, served − trained", as_served.error, 1e-4, "<="),
        ),
        rows=[*rows, *means, *as_served.costs],
        sizes={
            "preset": PORTFOLIO,
            "loans": n_loans,
            "rows_a_chunk": CHUNK,
            "loans a split learns from": "all" if at_most is None else f"at most {at_most:,}",
            "seeds": len({row["seed"] for row in rows}),
        },
        notes=(
            f"Exceptions: {'; '.join(exceptions(rows)) or 'none'}.",
            "All seeds learn the same loans. The depth of the trees was chosen by looking at these years "
            "(docs/decisions/0049), and so was that all learn their newest loans too (0058).",
        ),
    )
