"""What pretraining without labels (NT-Xent) brings and costs: the same network with and without it.

Of the loans in a split's window some have a label, by chance; with pretraining the network first sees all of them, then
learns from the labelled ones, as without it. Judged on a later year by the bundle that would be served.
"""

import statistics
from dataclasses import dataclass, replace
from typing import Any

from loanloop_common.portfolio import Portfolio

from bench.contenders import Fit
from bench.covering import refuse_uncovered
from bench.loans import SPLITS, Split
from bench.registry import Options
from bench.result import Found, Goal, why_not_judged
from bench.saying import Counted, only_errors_logged
from bench.trials import Ground, Trial, Trials, ground

TITLE = "ROC-AUC that pretraining brings out of time, seconds that it costs"
MODEL = "TabTransformer"


@dataclass(frozen=True)
class Size:
    """None: all loans of the window."""

    presets: tuple[str, ...]
    splits: tuple[Split, ...]
    seeds: tuple[int, ...]
    n_window: int | None
    n_labelled: tuple[int | None, ...]


DEFAULT = Size(("sba_application",), SPLITS[4:5], (0, 1), 20_000, (2_000, 10_000))
LONG = Size(
    ("sba_application", "sba"), (SPLITS[1], SPLITS[4], SPLITS[6]), (0, 1, 2), None, (2_000, 10_000, 50_000, None)
)


@dataclass(frozen=True)
class Pair:
    """With and without, by seed."""

    preset: str
    split: Split
    n_labelled: int
    n_window: int
    is_all: bool
    roc_auc: tuple[list[float], list[float]]
    train_s: tuple[list[float], list[float]]

    @property
    def gains(self) -> list[float]:
        return [w - without for w, without in zip(*self.roc_auc, strict=True)]

    def row(self) -> dict[str, Any]:
        seconds = [statistics.fmean(part) for part in self.train_s]
        return {
            "what": f"{self.preset}, {self.split}, {self.n_labelled:,} labelled",
            "preset": self.preset,
            "split": str(self.split),
            "labelled": self.n_labelled,
            "unlabelled": self.n_window - self.n_labelled,
            "roc_auc_with": round(statistics.fmean(self.roc_auc[0]), 4),
            "roc_auc_without": round(statistics.fmean(self.roc_auc[1]), 4),
            "gain": round(statistics.fmean(self.gains), 4),
            "gain_least": round(min(self.gains), 4),
            "gain_most": round(max(self.gains), 4),
            "seconds_with": round(seconds[0], 1),
            "seconds_without": round(seconds[1], 1),
            "seconds_ratio": round(seconds[0] / seconds[1], 2),
        }


def run(options: Options) -> Found:
    size = LONG if options.long else DEFAULT
    size = replace(size, seeds=options.seeds(size.seeds))
    counted = Counted(options.say)
    on = ground(size.presets, size.splits, replace(options, say=counted))
    refuse_uncovered(on.file.occurred_at, size.splits, on.splits)
    pairs = compared(on, size, counted)
    return Found(
        goals=goals_of(pairs, why_not_judged(whole=size.n_window is None and len(on.splits) == len(size.splits))),
        rows=[pair.row() for pair in pairs],
        sizes={
            **on.sizes(len(size.seeds)),
            "loans of a window": size.n_window or "all",
        },
        bars=("what", "gain"),
        notes=(
            "gain: ROC-AUC with less ROC-AUC without, mean, least and most over the seeds; a seed draws the same loans "
            "for both. Seconds are those of audit, training and export, on a machine that others may use: compare "
            "them within a row. Both encoders know the values of the labelled loans alone.",
        ),
    )


def compared(on: Ground, size: Size, counted: Counted) -> list[Pair]:
    asked = [
        (portfolio, split, n_labelled)
        for portfolio in on.portfolios
        for split in on.splits
        for n_labelled in fitting(size.n_labelled, on.trials.n_window(split, size.n_window))
    ]
    counted.n_fits = len(asked) * len(size.seeds) * len(("with", "without"))
    with only_errors_logged():
        return [compare(on.trials, *one, size, counted) for one in asked]


def fitting(n_labelled: tuple[int | None, ...], n_window: int) -> list[int | None]:
    """Those that leave some loans of the window without a label, and all."""
    return [n for n in n_labelled if n is None or n < n_window]


def compare(
    trials: Trials, portfolio: Portfolio, split: Split, n_labelled: int | None, size: Size, counted: Counted
) -> Pair:
    without = portfolio.with_model(pretrain_epochs=0)

    def arm(chosen: Portfolio, *, sees_unlabelled: bool) -> list[Fit]:
        drawn = (n_labelled, size.n_window, sees_unlabelled)
        return [counted.fit(trials, Trial(chosen, split, MODEL, seed, *drawn)) for seed in size.seeds]

    arms = arm(portfolio, sees_unlabelled=n_labelled is not None), arm(without, sees_unlabelled=False)
    n_window = trials.n_window(split, size.n_window)
    roc_auc = [[fit.verdict.figures["roc_auc"] for fit in fits] for fits in arms]
    train_s = [[fit.train_s for fit in fits] for fits in arms]
    return Pair(
        portfolio.name, split, n_labelled or n_window, n_window, n_labelled is None,
        (roc_auc[0], roc_auc[1]), (train_s[0], train_s[1]),
    )  # fmt: skip


def goals_of(pairs: list[Pair], not_judged: str | None = None) -> tuple[Goal, ...]:
    """One for each preset and number of labelled loans."""
    gains: dict[str, list[float]] = {}
    for pair in pairs:
        labelled = "all" if pair.is_all else f"{pair.n_labelled:,}"
        gains.setdefault(f"{pair.preset}, {labelled} labelled: mean ROC-AUC gained", []).extend(pair.gains)
    return tuple(Goal(what, statistics.fmean(gained), 0.0, not_judged=not_judged) for what, gained in gains.items())
