"""Plots of the benchmark `quality`: ROC-AUC by split, and reliability before and after calibration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from bench.judging import Reliability
from bench.result import RESULTS

mpl.use("svg")
from matplotlib import pyplot

MIN_LOANS = 20  # a share of fewer tells nothing


def plot_splits(judged: Sequence[Any], presets: Sequence[str]) -> str:
    """The seeds of each model as points, side by side on each split. The file's name."""
    figure, panels = pyplot.subplots(len(presets), 1, figsize=(8, 3.2 * len(presets)), layout="constrained")
    for axes, preset in zip(panels, presets, strict=True):
        shown = [one for one in judged if one.preset == preset]
        splits = list(dict.fromkeys(str(one.split) for one in shown))
        models = list(dict.fromkeys(one.model for one in shown))
        for i, model in enumerate(models):
            points = [(splits.index(str(one.split)) + (i - 1) * 0.15, value)
                      for one in shown if one.model == model for value in one.values("roc_auc")]  # fmt: skip
            axes.plot(*zip(*points, strict=True), "o", label=model, markersize=4)
        axes.set_xticks(range(len(splits)), splits, fontsize=8)
        axes.set_ylabel("ROC-AUC")
        axes.set_title(preset)
        axes.legend(fontsize=8)
    return _kept(figure, "quality-roc-auc.svg")


def plot_reliability(before: dict[str, Reliability], after: dict[str, Reliability]) -> str:
    """Expected against observed share of defaults, by predicted probability. The file's name."""
    figure, panels = pyplot.subplots(1, len(before), figsize=(4.5 * len(before), 4.2), layout="constrained")
    for axes, preset in zip(panels, before, strict=True):
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, label="as expected")
        axes.plot(*_points(before[preset]), "o--", markersize=4, label="uncalibrated")
        axes.plot(*_points(after[preset]), "o-", markersize=4, label="calibrated")
        axes.set(title=preset, xlabel="probability of default", ylabel="share that defaulted", xlim=(0, 1), ylim=(0, 1))
        axes.legend(fontsize=8)
    return _kept(figure, "quality-reliability.svg")


def _points(sums: Reliability) -> tuple[Any, Any]:
    n_loans = np.array(sums.n_loans)
    shown = n_loans >= MIN_LOANS
    return np.array(sums.expected)[shown] / n_loans[shown], np.array(sums.defaulted)[shown] / n_loans[shown]


def _kept(figure: Any, name: str) -> str:
    path: Path = RESULTS / name
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return name
