"""Which hyperparameters a trial gets: the file's first, and after a crash what it would have got without."""

import math
from dataclasses import replace

import pytest
from loanloop_common.portfolio import ModelConfig
from loanloop_trainer.domain.search_space import Space, Trial, Values, best_of, own_values, space_around
from loanloop_trainer.model.searching import UNPRUNED_EPOCHS, UNPRUNED_TRIALS, Attempt, Pruned, Search

MODEL = ModelConfig()
SPACE: Space = space_around(MODEL)
OWN = own_values(MODEL, SPACE)


def quality(values: Values) -> float:
    """Highest at a learning rate of 1e-3 and a batch of 128."""
    return 0.8 - 0.1 * abs(math.log10(values["learning_rate"]) + 3) - values["batch_size"] / 10_000


def tried(search: Search, attempt: Attempt) -> Trial:
    try:
        for epoch in range(1, 7):
            attempt.report(epoch, quality(attempt.values) - 0.1 / epoch)
    except Pruned:
        return search.end(attempt, "pruned")
    return search.end(attempt, "complete")


def search_on(n: int, past: list[Trial] | None = None, seed: int = 1) -> list[Trial]:
    search = Search(SPACE, OWN, seed=seed, past=past or [])
    while len(search.trials) < n:
        tried(search, search.attempt())
    return search.trials


def said(trials: list[Trial]) -> list[tuple[object, ...]]:
    return [(trial.number, trial.state, trial.values, trial.scores) for trial in trials]


def test_first_trial_has_the_values_of_the_file() -> None:
    assert search_on(1)[0].values == OWN


def test_search_finds_what_is_better() -> None:
    trials = search_on(30)
    best = best_of(trials)

    assert best is not None
    assert (best.score or 0) > (trials[0].score or 0) + 0.03
    assert best.values["batch_size"] == 128


@pytest.mark.parametrize("cut_off_after", [1, 9, 13])
def test_search_that_was_cut_off_goes_on_alike(cut_off_after: int) -> None:
    undisturbed = search_on(14)

    assert said(search_on(14, past=undisturbed[:cut_off_after])) == said(undisturbed)
    assert said(search_on(14, seed=2)) != said(undisturbed)


def test_search_goes_on_with_trials_of_code_that_searched_other_settings() -> None:
    older = [
        replace(trial, values={name: v for name, v in trial.values.items() if name != "dropout"} | {"gone": 1})
        for trial in search_on(12)
    ]

    newest = search_on(13, past=older)[-1]

    assert newest.values.keys() == OWN.keys()


def test_failed_trial_is_remembered_as_one() -> None:
    search = Search(SPACE, OWN, seed=1)
    search.end(search.attempt(), "failed")
    tried(search, search.attempt())

    again = Search(SPACE, OWN, seed=1, past=search.trials)

    assert again.attempt().values == search.attempt().values
    assert best_of(search.trials) == search.trials[1]


def test_trial_below_half_of_the_others_is_pruned_once_its_learning_rate_has_risen() -> None:
    search = Search(SPACE, OWN, seed=1)
    for _ in range(UNPRUNED_TRIALS):
        attempt = search.attempt()
        for epoch in (1, 2, 3, 4):
            attempt.report(epoch, 0.7)
        search.end(attempt, "complete")
    bad = search.attempt()
    for epoch in range(1, UNPRUNED_EPOCHS):
        bad.report(epoch, 0.6)

    with pytest.raises(Pruned):
        bad.report(UNPRUNED_EPOCHS, 0.6)
