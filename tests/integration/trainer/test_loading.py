"""The frozen rows come from the read replica, or from the primary when the replica can't serve them."""

from dataclasses import replace
from datetime import UTC
from uuid import UUID

import pytest
from loanloop_trainer.runner import loading
from loanloop_trainer.store import rows
from loanloop_trainer.store.claimed import ClaimedRunStore, Run
from structlog.testing import capture_logs

from tests.integration.trainer.world import TrainerWorld


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


@pytest.mark.parametrize("away", ["postgresql://nobody@127.0.0.1:1/nowhere", "wrong database"])
async def test_rows_come_from_the_primary_while_the_replica_is_away(world: TrainerWorld, away: str) -> None:
    run = await claimed_run(world)
    replica = away if "://" in away else world.dsn.rpartition("/")[0] + "/postgres"

    with capture_logs() as logs:
        data = await loading.load_rows(world.pool, replica, run, world.portfolio)

    assert len(data.defaulted) == run.n_rows
    assert [entry["event"] for entry in logs] == ["replica_not_used"]


async def test_replica_that_lags_behind_holds_up_no_training(
    world: TrainerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await claimed_run(world)
    monkeypatch.setattr(loading, "REPLICA_WITHIN_S", 0.2)
    behind = replace(run, n_rows=run.n_rows + 1)  # one row more than the replica will ever have

    with capture_logs() as logs, pytest.raises(loading.RowsMissing):
        await loading.load_rows(world.pool, world.dsn, behind, world.portfolio)

    assert [entry["event"] for entry in logs] == ["replica_not_used"]
