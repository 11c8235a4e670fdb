"""Loans whose end isn't known: a run freezes those of its window, and pretraining sees them."""

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from loanloop_common.event_time import fetch_as_of
from loanloop_common.portfolio import Portfolio
from loanloop_trainer.model import Hooks, Progress, TrainingData, train
from loanloop_trainer.runner import loading
from loanloop_trainer.store import rows
from loanloop_trainer.store.claimed import ClaimedRunStore, Run
from loanloop_trainer.store.freeze import fetch_window
from structlog.testing import capture_logs

from tests.integration.trainer.world import TrainerWorld
from tests.support.tiny_portfolio import make_loans, store_loans

SELECT_LOANS = """
    SELECT p.*, f.run_id IS NOT NULL AS is_frozen, f.defaulted AS frozen_label
    FROM loan_data.processed_data p LEFT JOIN loan_data.training_rows f USING (loan_id)
    ORDER BY occurred_at, loan_id
"""


async def one_in_ten_without_outcome(world: TrainerWorld) -> None:
    """Some that occurred before the window, and one whose outcome does not count yet."""
    await world.label(2000)
    await world.take_outcomes(each=10)
    await world.pool.execute(
        "UPDATE loan_data.processed_data SET occurred_at = occurred_at - interval '37 months' WHERE loan_id < 'loan-12'"
    )
    await world.pool.execute("UPDATE loan_data.processed_data SET known_at = '2030-01-01' WHERE loan_id = 'loan-999'")


async def claimed_run(world: TrainerWorld, owner: str = "a") -> Run:
    run_id = await world.runs.request_run(seed=1, requested_by="test")
    assert run_id is not None
    await world.runs.claim_run(owner, stale_after_s=15)
    return await ClaimedRunStore(world.pool, run_id, owner).fetch_run()


def unlabelled_of(loans: Sequence[Any], run: Run) -> list[Any]:
    """By another way than the database's: the window's loans up to its newest labelled one, in order of occurrence."""
    counts = [loan for loan in loans if loan["counts_at"] is not None and loan["counts_at"] <= run.as_of]
    first = max(loan["occurred_at"] for loan in counts).replace(year=2002)  # 36 months before
    counts = [loan for loan in counts if loan["occurred_at"] > first]
    newest = counts[-1 - max(math.ceil(len(counts) * 0.1), 100)]
    assert newest["occurred_at"] == run.window_to
    known = {loan["loan_id"] for loan in counts}
    return [
        loan for loan in loans if loan["loan_id"] not in known and first < loan["occurred_at"] <= newest["occurred_at"]
    ]


async def store_around_gate(world: TrainerWorld) -> None:
    """Two loans without an outcome: one between the newest labelled loan and the gate, and one of the gate's."""
    policy = world.portfolio.policy
    async with world.pool.acquire() as connection:
        window = await fetch_window(connection, await fetch_as_of(connection, policy.min_outcomes), policy)
    assert window is not None
    half_a_minute, unknown = timedelta(seconds=30), (None,) * 5  # a minute lies between two loans
    for row, moment in zip(
        make_loans(2, first=9000), (window.gate_from - half_a_minute, window.gate_from + half_a_minute), strict=True
    ):
        await store_loans(world.pool, [(*row[:2], moment, *row[3:7], *unknown)])


async def test_a_run_freezes_the_windows_loans_without_a_label_and_none_of_the_gates(world: TrainerWorld) -> None:
    await one_in_ten_without_outcome(world)
    await store_around_gate(world)

    run = await claimed_run(world)

    loans = await world.pool.fetch(SELECT_LOANS)
    frozen = [loan["loan_id"] for loan in loans if loan["is_frozen"] and loan["frozen_label"] is None]
    assert frozen == [loan["loan_id"] for loan in unlabelled_of(loans, run)]
    assert "loan-999" in frozen
    assert run.n_unlabelled == len(frozen) > 100
    assert run.n_rows == sum(loan["frozen_label"] is not None for loan in loans)
    assert max(loan["occurred_at"] for loan in loans if loan["is_frozen"]) == run.window_to


@pytest.mark.parametrize("at_most", [7, 0])
async def test_of_more_than_the_policy_wants_the_newest_are_frozen(world: TrainerWorld, at_most: int) -> None:
    world.set_portfolio(max_unlabelled=at_most)
    await one_in_ten_without_outcome(world)

    run = await claimed_run(world)

    loans = await world.pool.fetch(SELECT_LOANS)
    frozen = [loan["loan_id"] for loan in loans if loan["is_frozen"] and loan["frozen_label"] is None]
    possible = [loan["loan_id"] for loan in unlabelled_of(loans, run)]
    assert frozen == possible[len(possible) - at_most :]
    data = await loading.load_rows(world.pool, None, run, world.portfolio)
    assert (run.n_unlabelled, data.n_unlabelled, len(data)) == (at_most, at_most, run.n_rows)


async def test_where_nothing_is_pretrained_none_are_frozen(world: TrainerWorld) -> None:
    world.portfolio_file.write_text(
        world.portfolio_file.read_text().replace("pretrain_epochs = 1", "pretrain_epochs = 0")
    )
    await one_in_ten_without_outcome(world)

    run = await claimed_run(world)

    assert (run.n_unlabelled, await world.pool.fetchval("SELECT count(*) FROM loan_data.training_rows")) == (
        0,
        run.n_rows,
    )


async def test_an_outcome_that_comes_later_changes_nothing_for_the_run(
    world: TrainerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one_in_ten_without_outcome(world)
    run = await claimed_run(world)
    before = await loading.load_rows(world.pool, None, run, world.portfolio)

    await world.give_outcomes()
    monkeypatch.setattr(rows, "BYTES_AT_ONCE", 2_000)  # and pieces of another size
    await world.runs.release_run(run.run_id, "a")
    await world.runs.claim_run("b", stale_after_s=15)
    resumed = await ClaimedRunStore(world.pool, run.run_id, "b").fetch_run()
    after = await loading.load_rows(world.pool, None, resumed, world.portfolio)

    assert (after.columns, after.unlabelled) == (before.columns, before.unlabelled)
    assert after.defaulted.tolist() == before.defaulted.tolist()
    assert after.n_unlabelled == run.n_unlabelled > 100


async def test_pretraining_sees_them_in_order_of_occurrence(world: TrainerWorld) -> None:
    await one_in_ten_without_outcome(world)
    run = await claimed_run(world)

    data = await loading.load_rows(world.pool, None, run, world.portfolio)
    n_steps, n_older = pretrained(data, world.portfolio)

    stored = unlabelled_of(await world.pool.fetch(SELECT_LOANS), run)
    assert data.unlabelled == {name: [loan["features"][name] for loan in stored] for name in world.portfolio.features}
    assert n_steps == round((n_older + run.n_unlabelled) / 16) > round(n_older / 16)


def pretrained(data: TrainingData, portfolio: Portfolio) -> tuple[int, int]:
    """Steps of pretraining, and the labelled loans that it has seen."""
    said: list[Progress] = []
    quick = portfolio.with_model(pretrain_batch_size=16, epochs=1, refit=False)
    trained = train(data, quick, seed=1, threads=1, hooks=Hooks(on_progress=said.append))
    return next(progress.steps for progress in said if progress.phase == "pretrain"), trained.n_train


async def test_replica_is_waited_for_until_it_has_them_too(
    world: TrainerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one_in_ten_without_outcome(world)
    run = await claimed_run(world)
    monkeypatch.setattr(loading, "REPLICA_WITHIN_S", 0.2)
    with capture_logs() as logs:
        data = await loading.load_rows(world.pool, world.dsn, run, world.portfolio)
    assert (len(data), data.n_unlabelled, logs) == (run.n_rows, run.n_unlabelled, [])

    await world.pool.execute("DELETE FROM loan_data.processed_data WHERE loan_id = 'loan-1500'")
    with capture_logs() as logs, pytest.raises(loading.RowsMissing) as missing:
        await loading.load_rows(world.pool, world.dsn, run, world.portfolio)

    assert [entry["event"] for entry in logs] == ["replica_not_used"]
    assert (missing.value.n_rows, missing.value.n_found) == (run.n_frozen, run.n_frozen - 1)


async def test_those_that_cannot_be_read_end_the_run_as_labelled_ones_do(world: TrainerWorld) -> None:
    await one_in_ten_without_outcome(world)
    run = await claimed_run(world)
    await world.pool.execute("UPDATE loan_data.processed_data SET features = 'null'::json WHERE loan_id = 'loan-1500'")

    with pytest.raises(loading.RowsUnreadable, match="the features of 1 stored loans can't be read"):
        await loading.load_rows(world.pool, None, run, world.portfolio)
