"""A search that loses its session with the database, and what others do to it meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
import pytest
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import create_pool
from loanloop_trainer.domain.search_space import Trial
from loanloop_trainer.model import Hooks, Progress, TrainingData
from loanloop_trainer.store.only_search import OnlySearch, SearchForgotten, SearchTakenOver, SearchUnderWay, only_search
from loanloop_trainer.store.tunings import TuningStore, forget
from loanloop_trainer.tuning import Begun, Limits, Tuner, begin_or_go_on
from loanloop_trainer.tuning_loans import Loans

from tests.integration.trainer.world import TrainerWorld

LOCK_HOLDERS = """
    SELECT pid FROM pg_locks JOIN pg_database ON oid = database
    WHERE locktype = 'advisory' AND datname = current_database()
"""
LOANS = Loans(
    TrainingData(
        {"share": [0.5] * 400},
        np.arange(400) % 3 == 0,
        np.datetime64("2005-01-01", "us") + np.arange(400) * np.timedelta64(1, "D"),
    ),
    "file loans.csv",
)
Meanwhile = Callable[[], Awaitable[Any]]


@dataclass
class Search:
    """Of trials that learn nothing; in the trial `at` something happens."""

    world: TrainerWorld
    only: OnlySearch
    store: TuningStore
    begun: Begun

    async def run(self, meanwhile: Meanwhile, *, at: int = 1, trials: int = 3) -> Trial:
        loop, n = asyncio.get_running_loop(), 0

        def learn(data: TrainingData, portfolio: Portfolio, *, seed: int, threads: int | None, hooks: Hooks) -> None:
            nonlocal n
            if n == at:
                asyncio.run_coroutine_threadsafe(_awaited(meanwhile), loop).result()
            n += 1
            hooks.on_progress(Progress("train", epoch=1, loss=0.5))
            hooks.on_epoch(1, 0.5 + n / 100)

        return await Tuner(self.store, self.world.portfolio, self.begun, Limits(trials), learn=learn).run()


async def _awaited(meanwhile: Meanwhile) -> None:
    await meanwhile()


async def search_on(world: TrainerWorld, only: OnlySearch) -> Search:
    async def load(window: Any) -> Loans:
        return LOANS

    store = TuningStore(world.pool, world.portfolio.name, only)
    begun = await begin_or_go_on(
        store, world.portfolio, load, source=LOANS.source, seed=1, requested_by="test", anew=False
    )
    return Search(world, only, store, begun)


async def end_session(world: TrainerWorld) -> None:
    (holder,) = await world.pool.fetch(LOCK_HOLDERS)
    assert await world.pool.fetchval("SELECT pg_terminate_backend($1, 5000)", holder["pid"])


async def stored(world: TrainerWorld) -> tuple[int, int]:
    """Trials and results."""
    n_trials = await world.pool.fetchval("SELECT count(*) FROM loan_data.tuning_trials")
    return n_trials, await world.pool.fetchval("SELECT count(finished_at) FROM loan_data.tunings")


async def test_search_whose_session_was_ended_takes_its_lock_again_and_goes_on(world: TrainerWorld) -> None:
    async with only_search(world.pool) as only:
        search = await search_on(world, only)

        best = await search.run(lambda: end_session(world))

        assert (best.number, await stored(world)) == (2, (3, 1))
        with pytest.raises(SearchUnderWay):
            async with only_search(world.pool):
                pass


async def test_search_whose_session_was_ended_after_its_result_ends_well(world: TrainerWorld) -> None:
    async with only_search(world.pool) as only:
        await (await search_on(world, only)).run(lambda: asyncio.sleep(0))
        await end_session(world)

    async with only_search(world.pool):
        pass


async def test_session_goes_back_to_its_pool_though_the_lock_could_not_be_given_up(world: TrainerWorld) -> None:
    await world.pool.execute(
        """
        CREATE SCHEMA instead;
        CREATE FUNCTION instead.pg_advisory_unlock(key integer) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'cancelled' USING ERRCODE = 'query_canceled'; END $$
        """
    )
    pool = await create_pool(world.dsn, application_name="test", max_size=1)

    with pytest.raises(asyncpg.QueryCanceledError):
        async with only_search(pool) as only:
            await only.fetchrow("SELECT set_config('search_path', 'instead, pg_catalog', false)")

    async with asyncio.timeout(20):
        await pool.close()


async def test_search_ends_where_another_has_its_lock_by_now(world: TrainerWorld) -> None:
    async with only_search(world.pool) as only:
        search = await search_on(world, only)
        other = only_search(world.pool)

        async def lose_it() -> None:
            await end_session(world)
            await other.__aenter__()

        with pytest.raises(SearchTakenOver):
            await search.run(lose_it)

        await other.__aexit__(None, None, None)
    assert await stored(world) == (1, 0)


@pytest.mark.parametrize("n_trials", [2, 3], ids=["a trial", "its result"])
async def test_what_another_has_written_meanwhile_is_noticed_and_stays(world: TrainerWorld, n_trials: int) -> None:
    async with only_search(world.pool) as only:
        search = await search_on(world, only)

        async def another_goes_on() -> None:
            await end_session(world)
            async with only_search(world.pool) as others:
                again = await search_on(world, others)
                trial = Trial(1, "complete", again.begun.trials[0].values, (0.9,), 1)
                await again.store.add_trial(1, trial)
                if n_trials == 3:
                    await again.store.finish(1, trial)

        with pytest.raises(SearchTakenOver):
            await search.run(another_goes_on, trials=n_trials)

    assert await stored(world) == (2, 1 if n_trials == 3 else 0)
    assert await world.pool.fetchval("SELECT scores FROM loan_data.tuning_trials WHERE number = 1") == [0.9]


async def test_search_that_was_forgotten_says_so_instead_of_storing_a_result(world: TrainerWorld) -> None:
    async with only_search(world.pool) as only:
        search = await search_on(world, only)

        with pytest.raises(SearchForgotten):
            await search.run(lambda: forget(world.pool, world.portfolio.name, "desk"), at=2)

    assert await stored(world) == (3, 0)


async def test_newer_search_makes_an_older_one_end(world: TrainerWorld) -> None:
    async with only_search(world.pool) as only:
        search = await search_on(world, only)

        with pytest.raises(SearchTakenOver):
            await search.run(lambda: search.store.begin(search.begun.tuning, n_rows=1, requested_by="test"))


async def test_trial_and_result_whose_answers_were_lost_are_stored_once(world: TrainerWorld) -> None:
    async with only_search(world.pool) as only:
        search = await search_on(world, only)
        trial = Trial(0, "complete", {"epochs": 3, "learning_rate": 0.1 + 0.2}, (0.1 + 0.2,), 1 / 3)
        for _ in range(2):
            await search.store.add_trial(1, trial)
        for _ in range(2):
            await search.store.finish(1, trial)

    assert await stored(world) == (1, 1)


async def test_lock_of_a_session_that_lives_on_unseen_is_no_other_search(world: TrainerWorld) -> None:
    async with only_search(world.pool) as only:
        search = await search_on(world, only)
        only._session = None  # as when the way to the database broke: there nobody hears of it for hours

        assert (await search.run(lambda: asyncio.sleep(0))).number == 2
