"""What `loanloop tune` says at its start and when it is stopped: which search this is, and how to go on."""

from dataclasses import replace

import numpy as np
import pytest
from loanloop.tuning_screen import begin_words, stop_words
from loanloop_trainer.domain.search_space import Trial
from loanloop_trainer.model import TrainingData
from loanloop_trainer.store.tunings import Tuning
from loanloop_trainer.tuning import Begun
from loanloop_trainer.tuning_loans import Loans

LOANS = Loans(
    TrainingData({"share": [0.5] * 1500}, np.zeros(1500, np.bool_), np.full(1500, np.datetime64("2005-01-01", "us"))),
    "database",
)
NEW = Begun(2, Tuning("hash", "database", {}, {}, 0, None, b""), LOANS, {}, [], new=True)


def test_a_new_search_says_which_it_is_and_on_how_many_loans() -> None:
    assert [*begin_words(NEW, anew=False)] == ["Tuning 2 begins: 1,500 loans of the database."]


def test_a_search_that_goes_on_says_after_how_many_trials() -> None:
    again = replace(NEW, new=False, trials=[Trial(0, "complete", {}, (0.6,), 1)])

    assert [*begin_words(again, anew=False)] == ["Tuning 2 goes on after 1 trials: 1,500 loans of the database."]


@pytest.mark.parametrize(("anew", "why"), [(True, "--new"), (False, "its loans, features, hyperparameters or seed")])
def test_a_new_search_names_the_one_that_it_ends_and_why(anew: bool, why: str) -> None:
    _, line = begin_words(replace(NEW, left=1), anew=anew)

    assert line.startswith("Tuning 1 had not ended and does not go on, for ")
    assert why in line


def test_what_is_said_after_ctrl_c_goes_on_with_this_search_and_begins_no_other() -> None:
    assert stop_words(3, anew=False) == "Stopped after 3 trials, which are kept: the same command goes on."
    assert stop_words(3, anew=True).endswith("the same command without --new goes on.")
    assert stop_words(0, anew=False) == "Stopped before a trial had ended: the same command goes on."
