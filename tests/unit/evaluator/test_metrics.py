from typing import Any

import numpy as np
import pytest
from loanloop_evaluator.domain.metrics import figures_of, histogram_of, metric_of
from loanloop_evaluator.domain.scored import Confusion, Scored


def scored(rows: list[tuple[float, bool]], threshold: float = 0.5) -> Scored:
    probability = np.array([p for p, _ in rows], dtype=np.float64)
    return Scored(probability, probability >= threshold, np.array([d for _, d in rows], dtype=np.bool_))


EIGHT = [(0.9, True), (0.8, True), (0.7, False), (0.6, True), (0.4, True), (0.3, False), (0.2, False), (0.1, False)]


def test_counts_and_ratios_equal_those_counted_by_hand() -> None:
    counts = scored(EIGHT).confusion

    assert counts == Confusion(tp=3, fp=1, tn=3, fn=1)
    assert (counts.precision, counts.recall, counts.accuracy, counts.f1) == (0.75, 0.75, 0.75, 0.75)


def test_roc_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    pairs = [(bad, good) for bad, d in EIGHT if d for good, other in EIGHT if not other]
    assert metric_of(scored(EIGHT), "roc_auc") == sum(bad > good for bad, good in pairs) / len(pairs)


@pytest.mark.parametrize("rows", [[], [(0.1, False), (0.2, False)]])
def test_f1_is_unknown_without_a_default_real_or_predicted(rows: list[Any]) -> None:
    assert metric_of(scored(rows), "f1") is None


def test_f1_is_zero_when_every_default_is_missed() -> None:
    assert metric_of(scored([(0.1, True)]), "f1") == 0.0


@pytest.mark.parametrize("rows", [[], [(0.1, True)], [(0.9, False), (0.1, False)]])
def test_roc_auc_is_unknown_with_one_class(rows: list[Any]) -> None:
    assert metric_of(scored(rows), "roc_auc") is None


def test_the_figures_of_a_day_without_loans_are_unknown_and_not_zero() -> None:
    figures = figures_of(scored([]))

    assert (figures["n_loans"], figures["f1"], figures["roc_auc"], figures["pr_auc"], figures["brier"]) == (
        0, None, None, None, None,
    )  # fmt: skip


def test_brier_is_the_mean_squared_error() -> None:
    assert figures_of(scored([(0.9, True), (0.2, False)]))["brier"] == pytest.approx((0.01 + 0.04) / 2)


def test_every_score_falls_into_one_bin_both_ends_included() -> None:
    histogram = histogram_of(np.array([0.0, 0.049, 0.5, 0.999, 1.0]))

    assert (len(histogram), sum(histogram)) == (20, 5)
    assert (histogram[0], histogram[10], histogram[19]) == (2, 1, 2)
