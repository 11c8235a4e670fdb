"""Calibration and threshold, both on validation loans."""

import numpy as np
import pytest
from loanloop_common.bundle import Calibration
from loanloop_trainer.domain.calibration import best_threshold, platt, validation_metrics
from sklearn.metrics import f1_score

CHANCE = np.random.default_rng(0)
LOGITS = CHANCE.normal(size=4000) * 3
DEFAULTED = CHANCE.random(4000) < 1 / (1 + np.exp(-(0.5 * LOGITS - 1)))


def test_platt_finds_how_overconfident_the_scores_are() -> None:
    slope, intercept = platt(LOGITS, DEFAULTED)

    assert slope == pytest.approx(0.5, abs=0.05)
    assert intercept == pytest.approx(-1, abs=0.1)


def test_calibrated_probabilities_are_as_often_right_as_they_say() -> None:
    slope, intercept = platt(LOGITS, DEFAULTED)
    probabilities = Calibration(slope=slope, intercept=intercept).probabilities(LOGITS)

    assert probabilities.mean() == pytest.approx(DEFAULTED.mean(), abs=1e-3)
    assert np.argsort(probabilities).tolist() == np.argsort(LOGITS).tolist()


@pytest.mark.parametrize("labels", [np.zeros(4000, bool), np.ones(4000, bool)])
def test_one_class_alone_calibrates_nothing(labels: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    assert platt(LOGITS, labels) == (1.0, 0.0)


def test_scores_that_fall_with_the_labels_are_not_turned_round() -> None:
    assert platt(-LOGITS, DEFAULTED) == (1.0, 0.0)


def test_no_other_threshold_has_a_higher_f1() -> None:
    probabilities = 1 / (1 + np.exp(-LOGITS))
    best = f1_score(DEFAULTED, probabilities >= best_threshold(probabilities, DEFAULTED))

    assert all(f1_score(DEFAULTED, probabilities >= t) <= best + 1e-12 for t in np.linspace(0, 1, 201))


def test_no_loan_lies_on_the_threshold() -> None:
    probabilities = np.array([0.1, 0.2, 0.6, 0.9])

    assert best_threshold(probabilities, np.array([False, False, True, True])) == pytest.approx(0.4)
    assert best_threshold(probabilities, np.zeros(4, bool)) == 0.5


def test_metrics_of_a_single_class_leave_out_what_cannot_be_said() -> None:
    metrics = validation_metrics(np.array([0.1, 0.2]), np.zeros(2, bool), 0.5)

    assert (metrics["roc_auc"], metrics["pr_auc"], metrics["accuracy"]) == (None, None, 1.0)
