"""The frozen rows come from the read replica, or from the primary when the replica can't serve them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC
from uuid import UUID

import pytest
from loanloop_trainer.runner import loading
from loanloop_trainer.store import rows
from loanloop_trainer.store.availability import DatabaseAway, reaching_database
from loanloop_trainer.store.claimed import ClaimedRunStore, Run
from structlog.testing import capture_logs

from tests.integration.trainer.world import TrainerWorld
from tests.support.eventually import eventually


async def claimed_run(world: TrainerWorld) -> Run:
    await world.label(2000)
    run_id: UUID | None = await world.runs.request_run(seed=1, requested_by="test")
    assert run_id is not None
    await world.runs.claim_run("a", stale_after_s=15)
    return await ClaimedRunStore(world.pool, run_id, "a").fetch_run()


async def test_rows_come_from_the_replica(world: TrainerWorld) -> None:
    run = await claimed_run(world)
    replica = world.dsn
    await world.pool.close()  # whoever asked the primary would fail

    with capture_logs() as logs:
        data = await loading.load_rows(world.pool, replica, run, world.portfolio)

    assert len(data.defaulted) == run.n_rows
    assert logs == []


async def test_rows_are_those_of_the_database_in_order_of_occurrence(
    world: TrainerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await claimed_run(world)
    monkeypatch.setattr(rows, "BYTES_AT_ONCE", 10_000)  # of many parts
    stored = await world.pool.fetch(
        "SELECT p.occurred_at, r.defaulted, p.features FROM loan_data.training_rows r "
        "JOIN loan_data.processed_data p USING (loan_id) WHERE run_id = $1 ORDER BY p.occurred_at, p.loan_id",
        run.run_id,
    )

    data = await loading.load_rows(world.pool, None, run, world.portfolio)

    assert [moment.replace(tzinfo=UTC) for moment in data.occurred_at.tolist()] == [
        row["occurred_at"] for row in stored
    ]
    assert data.defaulted.tolist() == [row["defaulted"] for row in stored]
    for name in world.portfolio.features:
        assert data.columns[name] == [row["features"][name] for row in stored]


NOBODY = "postgresql://nobody@127.0.0.1:1/nowhere"


@pytest.mark.parametrize("away", [NOBODY, f"{NOBODY}?sslmode=require&sslrootcert=/none.pem", "wrong database"])
async def test_rows_come_from_the_primary_while_the_replica_is_away(world: TrainerWorld, away: str) -> None:
    run = await claimed_run(world)
    replica = away if "://" in away else world.dsn.rpartition("/")[0] + "/postgres"

    with capture_logs() as logs:
        data = await loading.load_rows(world.pool, replica, run, world.portfolio)

    assert len(data.defaulted) == run.n_rows
    assert [entry["event"] for entry in logs] == ["replica_not_used"]
    assert logs[0]["error"]


async def test_replica_that_lags_behind_holds_up_no_training(
    world: TrainerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await claimed_run(world)
    monkeypatch.setattr(loading, "REPLICA_WITHIN_S", 0.2)
    behind = replace(run, n_rows=run.n_rows + 1)  # one row more than the replica will ever have

    with capture_logs() as logs, pytest.raises(loading.RowsMissing):
        await loading.load_rows(world.pool, world.dsn, behind, world.portfolio)

    assert [entry["event"] for entry in logs] == ["replica_not_used"]
    assert logs[0]["error"] == (
        f"after 0.2 s the {behind.n_rows:,} frozen rows are not on the replica, {run.n_rows:,} of them there"
    )


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ("null", "got `null`"),
        ('{"purpose": "car", "income": "much", "share": 0.5}', "Expected `float | null`, got `str` - at `$.income`"),
        (r'{"purpose": "\ud800", "income": 1, "share": 0.5}', "surrogate"),
    ],
)
async def test_loans_that_cannot_be_read_are_counted_and_the_first_is_named(
    world: TrainerWorld, features: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await claimed_run(world)
    monkeypatch.setattr(rows, "BYTES_AT_ONCE", 10_000)  # in different parts
    await world.pool.execute(
        f"UPDATE loan_data.processed_data SET features = '{features}'::json WHERE loan_id IN ('loan-80', 'loan-1600')"
    )

    with pytest.raises(loading.RowsUnreadable) as unreadable:
        await loading.load_rows(world.pool, None, run, world.portfolio)

    said = str(unreadable.value)
    assert said.startswith("the features of 2 stored loans can't be read, first of one that occurred at 2005-01-03T00")
    assert reason in said


CANCEL_WAITING = """
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ~ 'p.features'
"""


@asynccontextmanager
async def rows_held_up(world: TrainerWorld) -> AsyncIterator[None]:
    async with world.pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK loan_data.training_rows")
        yield


async def load(world: TrainerWorld, run: Run) -> None:
    with reaching_database():
        await loading.load_rows(world.pool, None, run, world.portfolio)


async def test_copy_that_was_cancelled_is_tried_later(world: TrainerWorld) -> None:
    run = await claimed_run(world)

    async def cancelled() -> bool:
        return bool(await world.pool.fetchval(CANCEL_WAITING))

    async with rows_held_up(world):
        loads = asyncio.create_task(load(world, run))
        await eventually(cancelled)

        with pytest.raises(
            DatabaseAway, match=r"^PostgreSQL ended the copy .*: canceling statement due to user request"
        ):
            await loads


async def test_copy_that_stands_still_is_tried_later(world: TrainerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await claimed_run(world)
    monkeypatch.setattr(rows, "SILENT_AT_MOST_S", 0.3)

    async with rows_held_up(world):
        with pytest.raises(DatabaseAway, match=r"^no row of the training's loans came for 0.3 s"):
            await load(world, run)
