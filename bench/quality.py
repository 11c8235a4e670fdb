"""The shipped network beside LightGBM and logistic regression, out of time: same features, same loans.

On each split a model learns from some years and is judged on a later one; what it holds out for threshold and
calibration is the newest tenth of the years it learns from. On that tenth the network also chooses its number of
epochs; LightGBM's 400 trees are prescribed, and logistic regression chooses nothing else. By default a part of the
loans that a split learns from, drawn anew for each seed; with --long all of them.
"""

import statistics
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import add
from typing import Any

from loanloop_common.portfolio import Portfolio

from bench.contenders import CONTENDERS, Fit
from bench.covering import refuse_uncovered
from bench.judging import Reliability
from bench.loans import SPLITS, Split
from bench.peers import environment
from bench.quality_plots import plot_reliability, plot_splits
from bench.registry import Options
from bench.result import Found, Goal, why_not_judged
from bench.saying import Counted, only_errors_logged
from bench.trials import Ground, Trial, Trials, ground

TITLE = "TabTransformer beside LightGBM and logistic regression, out of time"
PRESETS = ("sba_application", "sba")
FIGURES = ("roc_auc", "average_precision", "f1", "brier", "brier_uncalibrated")
OURS, PEER = "TabTransformer", "LightGBM"
OTHERS = (PEER, "logistic regression")


@dataclass(frozen=True)
class Size:
    """`n_learnt`: loans that a split learns from, None for all. Splits that the file does not cover are left out."""

    splits: tuple[Split, ...]
    seeds: tuple[int, ...]
    n_learnt: int | None


DEFAULT = Size((SPLITS[4], SPLITS[6]), (0, 1), 10_000)
LONG = Size(SPLITS, (0, 1, 2), None)


@dataclass(frozen=True)
class Judged:
    """One model on one split, over the seeds."""

    preset: str
    split: Split
    model: str
    n_learnt: int
    n_judged: int
    share_defaulted: float
    fits: list[Fit]

    def mean(self, figure: str) -> float:
        return statistics.fmean(self.values(figure))

    def values(self, figure: str) -> list[float]:
        return [fit.verdict.figures[figure] for fit in self.fits]

    def row(self) -> dict[str, Any]:
        spread = max(self.values("roc_auc")) - min(self.values("roc_auc"))
        return {
            "preset": self.preset,
            "split": str(self.split),
            "model": self.model,
            "loans_learnt": self.n_learnt,
            "loans_judged": self.n_judged,
            "share_defaulted": self.share_defaulted,
            **{figure: round(self.mean(figure), 4) for figure in FIGURES},
            "roc_auc_spread": round(spread, 4),
            "train_s": round(statistics.fmean(fit.train_s for fit in self.fits), 1),
        }


def run(options: Options) -> Found:
    size = LONG if options.long else DEFAULT
    size = replace(size, seeds=options.seeds(size.seeds))
    counted = Counted(options.say)
    on = ground(PRESETS, size.splits, replace(options, say=counted))
    on = replace(on, portfolios=[_with_refit(portfolio) for portfolio in on.portfolios])
    refuse_uncovered(on.file.occurred_at, size.splits, on.splits)
    environment("lightgbm", options.say)  # where it can't be had, better known before the first hour than after it
    with only_errors_logged():
        judged = judge(on, size, counted)
    left_out = [str(split) for split in size.splits if split not in on.splits]
    return Found(
        goals=tuple(goal_of(judged, preset, why_not_judged(whole=is_whole(size, left_out))) for preset in PRESETS),
        rows=[one.row() for one in judged],
        sizes={
            **on.sizes(len(judged[0].fits)),
            "loans a split learns from": size.n_learnt or "all",
        },
        notes=notes(judged, left_out),
        pictures=(plot_splits(judged, PRESETS), plot_reliability(*pooled(judged))),
        peers=("lightgbm",),
        details={"by_seed": by_seed(judged), "reliability": dict(zip(_BEFORE_AFTER, pooled_sums(judged), strict=True))},
    )


def _with_refit(portfolio: Portfolio) -> Portfolio:
    """The preset of the demo ships without; here all learn from the newest loans before they judge."""
    return portfolio.with_model(refit=True)


def judge(on: Ground, size: Size, counted: Counted) -> list[Judged]:
    """Seed by seed: a run that is cut off has all splits of its first ones."""
    trials, at_most = on.trials, size.n_learnt
    cells = [(portfolio, split, model) for portfolio in on.portfolios for split in on.splits for model in CONTENDERS]
    counted.n_fits = len(size.seeds) * len(cells)
    by_seed = [[counted.fit(trials, Trial(*cell, seed, at_most)) for cell in cells] for seed in size.seeds]
    return [
        _judged(trials, cell, at_most, [*fits]) for cell, fits in zip(cells, zip(*by_seed, strict=True), strict=True)
    ]


def _judged(trials: Trials, cell: tuple[Portfolio, Split, str], at_most: int | None, fits: list[Fit]) -> Judged:
    portfolio, split, model = cell
    judged = trials.judged(portfolio, split)
    n_learnt = trials.n_window(split, at_most)
    share = float(judged.defaulted.mean())
    return Judged(portfolio.name, split, model, n_learnt, len(judged), round(share, 4), fits)


def goal_of(judged: list[Judged], preset: str, not_judged: str | None = None) -> Goal:
    """At least equal on most splits."""
    mean = {(one.split, one.model): one.mean("roc_auc") for one in judged if one.preset == preset}
    splits = {split for split, _ in mean}
    n_at_least = sum(mean[split, OURS] >= mean[split, PEER] for split in splits)
    what = f"{preset}: splits of {len(splits)} on which TabTransformer's mean ROC-AUC >= LightGBM's"
    return Goal(what, n_at_least, len(splits) // 2 + 1, not_judged=not_judged)


def is_whole(size: Size, left_out: list[str]) -> bool:
    return size.splits == SPLITS and size.n_learnt is None and not left_out


_BEFORE_AFTER = ("uncalibrated", "calibrated")


def pooled(judged: list[Judged]) -> tuple[dict[str, Reliability], dict[str, Reliability]]:
    """By preset, of our model on all splits and seeds: before calibration and after."""
    fits = {preset: [fit for one in judged if (one.preset, one.model) == (preset, OURS) for fit in one.fits]
            for preset in PRESETS}  # fmt: skip
    before = {preset: reduce(add, (fit.verdict.uncalibrated for fit in made)) for preset, made in fits.items()}
    after = {preset: reduce(add, (fit.verdict.calibrated for fit in made)) for preset, made in fits.items()}
    return before, after


def pooled_sums(judged: list[Judged]) -> list[dict[str, Any]]:
    return [{preset: asdict(sums) for preset, sums in part.items()} for part in pooled(judged)]


def by_seed(judged: list[Judged]) -> list[dict[str, Any]]:
    return [
        {"preset": one.preset, "split": str(one.split), "model": one.model, "figures": fit.verdict.figures}
        for one in judged
        for fit in one.fits
    ]


def notes(judged: list[Judged], left_out: list[str]) -> tuple[str, ...]:
    said = [
        "Means over the seeds; roc_auc_spread is the largest less the smallest. F1 is the default class's, its "
        "threshold the best on the newest tenth of the loans learnt from. All models' probabilities are calibrated "
        "(Platt) on that tenth; brier_uncalibrated is before. Both are chosen on what a model says that has not learnt "
        "it; the one that is judged has learnt it too, which was decided by looking at these years (decision 58). On "
        "that tenth the network also chooses its number of epochs, while LightGBM's 400 trees are prescribed and "
        "logistic regression chooses nothing else. In sba_application a loan that is a year older counts half to all "
        "of them. On all loans logistic regression draws nothing by chance; LightGBM draws 200,000 loans to make its "
        "bins of, where there are more. A fit kept from an earlier run of the same code keeps its seconds.",
        "sba has term_months, which was edited after the outcome: its figures say nothing about lending.",
    ]
    said += [_beside(judged, preset, other) for preset in PRESETS for other in OTHERS]
    if left_out:
        said.append(f"Left out, since the file does not have all their years: {', '.join(left_out)} (--loans FILE).")
    return tuple(said)


def _beside(judged: list[Judged], preset: str, other: str) -> str:
    """By mean ROC-AUC: the splits on which the other one is better, else by how little ours is ahead."""
    mean = {(one.split, one.model): one.mean("roc_auc") for one in judged if one.preset == preset}
    ahead = {split: mean[split, OURS] - mean[split, other] for split, model in mean if model == OURS}
    behind = [f"{split} by {-gap:.4f}" for split, gap in ahead.items() if gap < 0]
    if behind:
        return f"{preset}: {OURS} is behind {other} on {len(behind)} of {len(ahead)} splits: {', '.join(behind)}."
    least = min(ahead.values())
    return f"{preset}: {OURS} is not behind {other} on any split; the smallest lead of {len(ahead)} is {least:.4f}."
