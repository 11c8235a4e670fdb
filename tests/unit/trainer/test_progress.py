"""How far a training is, as series of metrics."""

from typing import Any

import pytest
from loanloop_common.telemetry import CATALOGUE
from loanloop_trainer.domain.progress import nothing_trained, training_series

TRAINING = {"epoch": 2, "epochs": 8, "step": 30, "steps": 120, "loss": 0.4, "rows_per_s": 5000.0, "eta_s": 3.0}


def test_every_metric_of_a_training_is_replaced_whether_one_runs_or_not() -> None:
    known = {name for name, about in CATALOGUE.items() if about.who == "trainer"}

    assert set(nothing_trained()) == set(training_series("train", TRAINING, 1.0)) == known


def test_progress_is_that_of_the_phase() -> None:
    series = training_series("train", TRAINING, 1.5)

    assert series["loanloop_training_running"] == {(): 1.0}
    assert series["loanloop_training_progress_ratio"] == {("train",): 0.25}
    assert series["loanloop_training_epoch"] == {(): 2.0}
    assert series["loanloop_training_loss"] == {(): 0.4}
    assert series["loanloop_training_heartbeat_age_seconds"] == {(): 1.5}


@pytest.mark.parametrize("progress", [{}, {"epoch": 0, "steps": 0, "step": 0, "loss": None, "rows_per_s": None}])
def test_phase_without_steps_is_at_its_begin(progress: dict[str, Any]) -> None:
    series = training_series("export", progress, None)

    assert series["loanloop_training_progress_ratio"] == {("export",): 0.0}
    assert series["loanloop_training_loss"] == series["loanloop_training_epoch"] == {}


def test_run_that_waits_is_under_way_without_a_phase() -> None:
    series = training_series(None, {}, None)

    assert series["loanloop_training_running"] == {(): 1.0}
    assert series["loanloop_training_progress_ratio"] == {}


def test_nothing_runs() -> None:
    assert {name for name, series in nothing_trained().items() if series} == {"loanloop_training_running"}
    assert nothing_trained()["loanloop_training_running"] == {(): 0.0}
