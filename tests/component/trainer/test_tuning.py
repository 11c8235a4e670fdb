"""A search on a store in memory and a computation that answers at once: its limits, its end, what it leaves."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_trainer.domain.search_space import Trial, own_values
from loanloop_trainer.model import Hooks, Progress, TrainingData
from loanloop_trainer.store.only_search import SearchTakenOver
from loanloop_trainer.store.tunings import Tuning, TuningStore
from loanloop_trainer.tuning import Begun, Limits, Tuner, begin_or_go_on
from loanloop_trainer.tuning_loans import FROM_DATABASE, Loans, NothingToLearn, of_file

from tests.support.eventually import eventually
from tests.support.tiny_portfolio import write_tiny_portfolio

ONE_DAY = np.timedelta64(1, "D")
NO_TIMES = np.array([], "datetime64[us]")


@dataclass
class TuningsInMemory(TuningStore):
    tunings: list[Tuning] = field(default_factory=list)
    trials: dict[int, list[Trial]] = field(default_factory=dict)
    results: dict[int, Trial] = field(default_factory=dict)

    async def fetch_unfinished(self) -> tuple[int, Tuning] | None:
        newest = len(self.tunings)
        return (newest, self.tunings[-1]) if newest and newest not in self.results else None

    async def begin(self, tuning: Tuning, *, n_rows: int, requested_by: str) -> int:
        self.tunings.append(tuning)
        self.trials[len(self.tunings)] = []
        return len(self.tunings)

    async def fetch_trials(self, tuning_id: int) -> list[Trial]:
        return list(self.trials[tuning_id])

    async def make_sure(self, tuning_id: int, n_trials: int) -> None:
        if tuning_id in self.results or len(self.trials[tuning_id]) != n_trials:
            raise SearchTakenOver

    async def add_trial(self, tuning_id: int, trial: Trial) -> None:
        self.trials[tuning_id].append(trial)

    async def finish(self, tuning_id: int, best: Trial) -> None:
        self.results[tuning_id] = best


def learn_at_once(data: TrainingData, portfolio: Portfolio, *, seed: int, threads: int | None, hooks: Hooks) -> None:
    for epoch in range(1, portfolio.model.epochs + 1):
        hooks.on_progress(Progress("train", epoch=epoch, loss=0.5))
        hooks.on_epoch(epoch, 0.8 - portfolio.model.learning_rate - 0.1 / epoch)


def learn_for_ever(data: TrainingData, portfolio: Portfolio, *, seed: int, threads: int | None, hooks: Hooks) -> None:
    while True:
        hooks.on_progress(Progress("train", loss=0.5))


def never_a_number(data: TrainingData, portfolio: Portfolio, *, seed: int, threads: int | None, hooks: Hooks) -> None:
    hooks.on_progress(Progress("train", loss=math.nan))


def made_up(n: int = 400, *, first: str = "2005-01-01") -> TrainingData:
    times = np.datetime64(first, "us") + np.arange(n) * ONE_DAY
    return TrainingData({"share": [0.5] * n}, np.arange(n) % 3 == 0, times)


@pytest.fixture
def portfolio(tmp_path: Path) -> Portfolio:
    return load_portfolio(write_tiny_portfolio(tmp_path))


@pytest.fixture
def store() -> TuningsInMemory:
    return TuningsInMemory()


async def begun(
    store: TuningsInMemory, portfolio: Portfolio, loans: Loans | None = None, *, seed: int = 1, anew: bool = False
) -> Begun:
    given = loans or Loans(made_up(), "file loans.csv")

    async def load(window: Any) -> Loans:
        return given

    return await begin_or_go_on(store, portfolio, load, source=given.source, seed=seed, requested_by="test", anew=anew)


async def test_search_goes_on_though_loans_without_a_label_have_arrived(
    store: TuningsInMemory, portfolio: Portfolio
) -> None:
    first = await begun(store, portfolio, Loans(replace(made_up(), unlabelled={"share": [0.1]}), FROM_DATABASE))

    later = Loans(replace(made_up(), unlabelled={"share": [0.1, 0.2]}), FROM_DATABASE)
    again = await begun(store, portfolio, later)

    assert (again.tuning_id, again.new, again.loans) == (first.tuning_id, False, later)


def test_a_file_is_cut_as_a_training_would_cut_it(portfolio: Portfolio) -> None:
    policy = portfolio.policy.model_copy(update={"training_window_months": 12, "gate_min_loans": 1})

    loans = of_file(made_up(800), NO_TIMES, "loans.csv", b"its hash", portfolio.model_copy(update={"policy": policy}))

    newest = np.datetime64("2005-01-01", "us") + 799 * ONE_DAY
    assert loans.data.occurred_at.min() == newest - 364 * ONE_DAY
    assert loans.data.occurred_at.max() == newest - 37 * ONE_DAY  # a tenth of a year's loans is the gate's
    assert loans.source == "file loans.csv"


def test_a_file_that_ends_on_a_31st_has_the_loans_since_the_end_of_a_shorter_month(portfolio: Portfolio) -> None:
    policy = portfolio.policy.model_copy(update={"training_window_months": 13, "gate_min_loans": 1})
    data = made_up(500, first="2003-11-18")
    assert data.occurred_at.max() == np.datetime64("2005-03-31", "us")

    loans = of_file(
        data, np.empty(0, "datetime64[us]"), "loans.csv", b"", portfolio.model_copy(update={"policy": policy})
    )

    assert loans.data.occurred_at.min() == np.datetime64("2004-03-01", "us")


def test_of_a_files_loans_without_an_outcome_the_windows_newest_are_seen_in_order(portfolio: Portfolio) -> None:
    policy = portfolio.policy.model_copy(update={"training_window_months": 12, "gate_min_loans": 1})
    names, days = [f"loan {day}" for day in range(800)], np.datetime64("2005-01-01T12", "us") + np.arange(800) * ONE_DAY
    data = replace(made_up(800), unlabelled={"purpose": names[::-1]})

    def cut(at_most: int) -> Any:
        of_policy = policy.model_copy(update={"max_unlabelled": at_most})
        chosen = portfolio.model_copy(update={"policy": of_policy})
        return of_file(data, days[::-1], "loans.csv", b"", chosen).data

    capped, none = cut(100), cut(0)
    n_before_the_newest_labelled = int((days <= capped.occurred_at.max()).sum())
    assert capped.unlabelled == {"purpose": names[n_before_the_newest_labelled - 100 : n_before_the_newest_labelled]}
    assert cut(50_000).n_unlabelled == int(
        ((days > data.occurred_at.max() - 365 * ONE_DAY) & (days <= capped.occurred_at.max())).sum()
    )
    assert none.unlabelled is None
    assert len(capped) == len(none)


async def test_best_of_the_trials_is_the_result(store: TuningsInMemory, portfolio: Portfolio) -> None:
    found = await begun(store, portfolio)

    best = await Tuner(store, portfolio, found, Limits(trials=12), learn=learn_at_once).run()

    trials = store.trials[1]
    assert [trial.number for trial in trials] == [*range(12)]
    assert trials[0].values == own_values(portfolio.model, found.space)
    assert store.results == {1: best}
    assert best.score == max(trial.score or 0 for trial in trials)
    assert {"complete", "pruned"} == {trial.state for trial in trials}


async def test_search_goes_on_until_it_has_ended(store: TuningsInMemory, portfolio: Portfolio) -> None:
    first = await begun(store, portfolio)
    store.trials[1] = [Trial(0, "complete", own_values(portfolio.model, first.space), (0.6,), 1)]

    again = await begun(store, portfolio)
    await Tuner(store, portfolio, again, Limits(trials=3), learn=learn_at_once).run()
    after = await begun(store, portfolio)

    assert (again.new, again.tuning_id, len(again.trials)) == (False, 1, 1)
    assert len(store.trials[1]) == 3
    assert (after.new, after.tuning_id, after.left) == (True, 2, None)


@pytest.mark.parametrize("what", ["anew", "seed", "loans", "file", "edited file", "features", "model"])
async def test_search_for_something_else_begins_anew(store: TuningsInMemory, portfolio: Portfolio, what: str) -> None:
    await begun(store, portfolio)
    facts = portfolio.model_dump()
    del facts["features"]["share"]
    later = Loans(made_up(first="2005-01-02"), "file loans.csv")
    other: dict[str, Callable[[], Any]] = {
        "anew": lambda: begun(store, portfolio, anew=True),
        "seed": lambda: begun(store, portfolio, seed=2),
        "loans": lambda: begun(store, portfolio, later),
        "file": lambda: begun(store, portfolio, Loans(made_up(), "file other.csv")),
        "edited file": lambda: begun(store, portfolio, Loans(made_up(), "file loans.csv", file_sha256=b"another")),
        "features": lambda: begun(store, Portfolio.model_validate(facts)),
        "model": lambda: begun(store, portfolio.with_model(n_layers=2)),
    }

    another = await other[what]()

    assert (another.new, another.left) == (True, 1)


async def test_limit_that_is_reached_already_stores_the_best_of_what_there_is(
    store: TuningsInMemory, portfolio: Portfolio
) -> None:
    found = await begun(store, portfolio)
    done = Trial(0, "complete", own_values(portfolio.model, found.space), (0.6,), 1)
    store.trials[1] = [done]

    best = await Tuner(store, portfolio, await begun(store, portfolio), Limits(trials=1), learn=learn_for_ever).run()

    assert best == done == store.results[1]


async def test_search_that_another_has_ended_is_left_before_a_trial_and_its_result_stays(
    store: TuningsInMemory, portfolio: Portfolio
) -> None:
    found = await begun(store, portfolio)
    others = Trial(0, "complete", own_values(portfolio.model, found.space), (0.6,), 1)
    store.results[1] = others

    for n_trials in (3, 0):
        with pytest.raises(SearchTakenOver, match="has taken this search over; its trials so far are kept"):
            await Tuner(store, portfolio, found, Limits(n_trials), learn=learn_at_once).run()

    assert store.results == {1: others}


async def test_time_that_is_over_ends_the_trial_under_way(store: TuningsInMemory, portfolio: Portfolio) -> None:
    await begun(store, portfolio)
    store.trials[1] = [
        Trial(0, "complete", own_values(portfolio.model, (await begun(store, portfolio)).space), (0.6,), 1)
    ]

    limits = Limits(trials=5, seconds=0.2)
    await Tuner(store, portfolio, await begun(store, portfolio), limits, learn=learn_for_ever).run()

    assert len(store.trials[1]) == 1
    assert store.results[1].number == 0


async def test_search_without_a_whole_trial_stores_no_result(store: TuningsInMemory, portfolio: Portfolio) -> None:
    limits = Limits(trials=5, seconds=0.2)

    with pytest.raises(NothingToLearn, match="--minutes"):
        await Tuner(store, portfolio, await begun(store, portfolio), limits, learn=learn_for_ever).run()

    assert store.results == {}


async def test_values_by_which_nothing_can_be_learnt_fail_a_trial_alone(
    store: TuningsInMemory, portfolio: Portfolio
) -> None:
    with pytest.raises(NothingToLearn):
        await Tuner(store, portfolio, await begun(store, portfolio), Limits(trials=3), learn=never_a_number).run()

    assert [trial.state for trial in store.trials[1]] == ["failed"] * 3


async def test_stopped_search_ends_its_computation_and_keeps_its_trials(
    store: TuningsInMemory, portfolio: Portfolio
) -> None:
    began: list[int] = []
    tuner = Tuner(store, portfolio, await begun(store, portfolio), Limits(trials=3), learn=learn_for_ever)
    tuner.on_begin = lambda attempt: began.append(attempt.number)
    running = asyncio.create_task(tuner.run())
    await eventually(lambda: began == [0])

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, timeout=5)

    assert (store.trials[1], store.results) == ([], {})


def test_no_loans_are_said_in_one_sentence(portfolio: Portfolio) -> None:
    with pytest.raises(NothingToLearn, match="send more outcomes"):
        of_file(made_up(40), NO_TIMES, "loans.csv", b"", portfolio)


def test_loans_of_too_few_days_are_said_in_one_sentence_before_a_search_begins(portfolio: Portfolio) -> None:
    data, second = made_up(800), np.timedelta64(1, "s")
    most_on_one_day = replace(data, occurred_at=np.datetime64("2005-01-01", "us") + np.arange(800) * second)

    with pytest.raises(NothingToLearn, match=r"too many of them on 2005-01-01.*send loans of more days"):
        of_file(most_on_one_day, NO_TIMES, "loans.csv", b"", portfolio)
