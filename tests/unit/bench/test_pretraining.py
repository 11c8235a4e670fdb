"""What the benchmark `pretraining` compares, and how it sums up."""

import pytest

from bench.loans import SPLITS
from bench.pretraining import Pair, fitting, goals_of


def pair(preset: str, n_labelled: int, roc_auc: tuple[list[float], list[float]], *, is_all: bool = False) -> Pair:
    return Pair(preset, SPLITS[0], n_labelled, 50_000, is_all, roc_auc, ([20.0, 40.0], [10.0, 20.0]))


def test_a_window_is_not_asked_for_more_labelled_loans_than_it_has() -> None:
    assert fitting((2_000, 10_000, 50_000, None), 20_000) == [2_000, 10_000, None]


def test_a_row_has_the_gain_by_seed_and_what_it_costs() -> None:
    row = pair("sba", 2_000, ([0.70, 0.74], [0.69, 0.70])).row()

    assert (row["gain"], row["gain_least"], row["gain_most"]) == (0.025, 0.01, 0.04)
    assert row["seconds_ratio"] == 2.0
    assert row["unlabelled"] == 48_000


def test_each_preset_has_a_label_of_its_own_in_the_plot() -> None:
    presets = ("sba_application", "sba")

    labels = {pair(preset, 2_000, ([0.7], [0.6])).row()["what"] for preset in presets}

    assert labels == {f"{preset}, {SPLITS[0]}, 2,000 labelled" for preset in presets}


def test_goals_are_the_mean_gain_of_all_splits_with_as_many_labels() -> None:
    pairs = [
        pair("sba", 2_000, ([0.75], [0.50])),
        pair("sba", 2_000, ([0.50], [0.75])),
        pair("sba", 49_000, ([0.70], [0.71]), is_all=True),
        pair("sba", 48_000, ([0.70], [0.72]), is_all=True),
    ]

    goals = goals_of(pairs)

    assert [(goal.what, goal.reached) for goal in goals] == [
        ("sba, 2,000 labelled: mean ROC-AUC gained", True),
        ("sba, all labelled: mean ROC-AUC gained", False),
    ]
    assert [goal.value for goal in goals] == pytest.approx([0.0, -0.015])


def test_the_smallest_loss_misses_the_goal() -> None:
    (goal,) = goals_of([pair("sba", 2_000, ([0.70000], [0.70004]))])

    assert not goal.reached
