import numpy as np
import pytest
from loanloop_evaluator.domain.interval import (
    bootstrap_bounds,
    f1_bounds,
    metric_bounds,
    roc_auc_bounds,
    wilson_bounds,
)
from loanloop_evaluator.domain.scored import Confusion, Scored


def made_up(n: int, seed: int = 1) -> Scored:
    rng = np.random.default_rng(seed)
    defaulted = rng.random(n) < 0.3
    probability = np.clip(rng.normal(0.35 + 0.3 * defaulted, 0.2), 0, 1).round(2)
    return Scored(probability, probability >= 0.5, defaulted)


def test_wilson_bounds_equal_the_published_formula_worked_by_hand() -> None:
    # 8 of 10, z = 1.2816 for one-sided 90 %.
    z, p, n = 1.2815515655446004, 0.8, 10
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5

    bounds = wilson_bounds(8, 10, 0.9)

    assert (bounds.lower, bounds.upper) == pytest.approx((centre - half, centre + half))


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (20, 20), (0, 0)])
def test_wilson_bounds_stay_within_zero_and_one(successes: int, n: int) -> None:
    bounds = wilson_bounds(successes, n, 0.9)

    assert 0 <= bounds.lower < bounds.upper <= 1


def test_f1_bounds_are_the_transformed_bounds_of_the_jaccard_share() -> None:
    j = wilson_bounds(60, 60 + 20 + 10, 0.9)

    bounds = f1_bounds(Confusion(tp=60, fp=20, tn=500, fn=10), 0.9)

    assert (bounds.lower, bounds.upper) == pytest.approx((2 * j.lower / (1 + j.lower), 2 * j.upper / (1 + j.upper)))


def test_true_negatives_do_not_narrow_the_bounds_of_f1() -> None:
    few = f1_bounds(Confusion(tp=6, fp=2, tn=5, fn=1), 0.9)
    many = f1_bounds(Confusion(tp=6, fp=2, tn=5000, fn=1), 0.9)

    assert few == many


def test_the_upper_bound_of_f1_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    tp, fp, fn = 0.14, 0.04, 0.03
    truth = 2 * tp / (2 * tp + fp + fn)
    draws = rng.multinomial(150, [tp, fp, 1 - tp - fp - fn, fn], size=4000)

    covered = np.mean([f1_bounds(Confusion(*map(int, draw)), 0.9).upper >= truth for draw in draws])

    assert covered == pytest.approx(0.9, abs=0.03)


def test_roc_auc_bounds_widen_with_fewer_defaults() -> None:
    few, many = roc_auc_bounds(0.7, 10, 300, 0.9), roc_auc_bounds(0.7, 100, 300, 0.9)

    assert few.upper - few.lower > 2 * (many.upper - many.lower)
    assert roc_auc_bounds(1.0, 10, 10, 0.9).upper == 1.0


def test_roc_auc_bounds_equal_hanley_and_mcneils_worked_figures() -> None:
    # Their formula at AUC .893 with 51 abnormal and 58 normal: SE .032.
    bounds = roc_auc_bounds(0.893, 51, 58, 0.9)

    assert (bounds.upper - 0.893) / 1.2816 == pytest.approx(0.032, abs=0.001)


@pytest.mark.parametrize("metric", ["f1", "roc_auc"])
def test_the_bootstrap_gives_the_same_bounds_for_the_same_seed_and_nearly_those_in_closed_form(metric: str) -> None:
    scored = made_up(600)

    bounds = bootstrap_bounds(scored, metric, 0.9, seed=3)
    closed = metric_bounds(scored, metric, 0.9)

    assert bounds == bootstrap_bounds(scored, metric, 0.9, seed=3)
    assert bounds is not None
    assert closed is not None
    assert bounds.lower == pytest.approx(closed.lower, abs=0.02)
    assert bounds.upper == pytest.approx(closed.upper, abs=0.02)


def test_bounds_are_unknown_where_the_metric_is() -> None:
    all_repaid = Scored(np.array([0.1, 0.2]), np.array([False, False]), np.array([False, False]))

    assert metric_bounds(all_repaid, "f1", 0.9) is None
    assert metric_bounds(all_repaid, "roc_auc", 0.9) is None
    assert bootstrap_bounds(all_repaid, "roc_auc", 0.9, seed=1) is None
