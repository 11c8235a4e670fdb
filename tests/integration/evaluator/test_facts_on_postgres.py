"""The facts that become metrics, read from a real database."""

from collections.abc import AsyncIterator

import pytest
from loanloop_common.errors import Unavailable
from loanloop_evaluator.store.facts import FactStore

from tests.integration.evaluator.test_quality_on_postgres import arrive
from tests.integration.evaluator.test_rolling_on_postgres import with_live_model
from tests.integration.evaluator.world import MIN_OUTCOMES, SLOT, World, catch_up, day, settle
from tests.support.infrastructure import Backend, fresh_database


@pytest.fixture
async def store(world: World) -> AsyncIterator[FactStore]:
    store = store_of(world)
    yield store
    await store.close()


def store_of(world: World, read_only_dsn: str | None = None) -> FactStore:
    return FactStore(world.pool, read_only_dsn=read_only_dsn, slot=SLOT, min_outcomes=MIN_OUTCOMES)


async def test_empty_installation_has_facts_too(store: FactStore) -> None:
    facts = await store.fetch_facts()

    assert (facts.live, facts.day, facts.breach, facts.event_time) == (None, None, None, None)
    assert (facts.n_loans_today, facts.rejected_today, facts.beats) == (0, [], [])
    assert {"predictions", "raw_data", "processed_data"} <= {table.name for table in facts.tables}
    assert not any("_20" in table.name for table in facts.tables), "partitions count with their table"


async def test_live_version_its_latest_day_and_its_breach_are_found(world: World, store: FactStore) -> None:
    await with_live_model(world)
    await world.live_through(range(20, 30), "v1", right=9, wrong=1)
    await world.live_through(range(30, 50), "v1", right=4, wrong=6)
    await catch_up(world.rolling())
    (breach,) = await world.breaches()
    await world.pool.execute(
        """
        INSERT INTO loan_data.training_runs (trigger, breach_id, portfolio, state, seed)
        VALUES ('breach', $1, 'sba', 'queued', 1)
        """,
        breach["breach_id"],
    )

    facts = await store.fetch_facts()

    assert facts.live is not None
    assert (facts.live.version, facts.live.kind, facts.live.pinned) == ("v1", "deploy", False)
    assert 0 <= facts.live.age_s < 120
    assert facts.live.as_of == day(49)
    assert facts.day is not None
    row = await world.daily("v1", (facts.day.day - day(0).date()).days)
    assert row is not None
    assert (facts.day.tp, facts.day.fn, facts.day.value) == (row["tp"], row["fn"], row["value"])
    assert facts.day.metrics["window"]["f1"] == row["value"]
    newest = await world.pool.fetchval("SELECT max(day) FROM loan_data.model_performance WHERE kind = 'daily'")
    assert facts.day.day == newest
    assert facts.breach is not None
    assert (facts.breach.attempts, facts.breach.given_up) == (1, False)
    assert facts.training_runs == {"succeeded": 1, "queued": 1}
    assert facts.deployments == {"deploy": 1}


async def test_age_counts_from_when_the_version_became_live_not_from_its_last_deployment(
    world: World, store: FactStore
) -> None:
    await with_live_model(world)
    await world.pool.execute(
        "UPDATE loan_data.deployments SET pinned = true, deployed_at = deployed_at - interval '1 day'"
    )
    await world.operator().unpin("it may be replaced")

    facts = await store.fetch_facts()

    assert facts.live is not None
    assert (facts.live.deployment_seq, facts.live.kind) == (2, "unpin")
    assert 86_400 <= facts.live.age_s < 86_600


async def test_version_without_a_verdict_waits(world: World, store: FactStore) -> None:
    await with_live_model(world)
    await world.add_model(2, train_to=day(18))
    await settle(world.judge(min_loans=100_000))
    assert (await store.fetch_facts()).n_waiting == 1


async def test_quality_is_that_of_today_by_reason_and_field(world: World, store: FactStore) -> None:
    await arrive(world, stored=80, rejected=3)
    await arrive(world, stored=500, rejected=7, days_ago=1)
    await world.pool.execute("UPDATE loan_data.data_quality SET n_missing = 5 WHERE field = 'a'")

    facts = await store.fetch_facts()

    assert (facts.n_loans_today, facts.missing_today) == (80, {"a": 5, "b": 0})
    assert [(r.reason, r.field, r.rule, r.n) for r in facts.rejected_today] == [
        ("invalid_field", "features.employees", None, 3)
    ]


async def test_replica_is_read_where_there_is_one(world: World, infrastructure: Backend) -> None:
    """Another database stands for it: what is read comes from there."""
    await with_live_model(world)
    async with fresh_database(infrastructure) as elsewhere:
        store = store_of(world, elsewhere)
        facts = await store.fetch_facts()
        await store.close()

    assert (facts.live, facts.deployments) == (None, {})


async def test_replica_that_is_away_fails_the_look_and_not_the_service(world: World) -> None:
    store = store_of(world, "postgresql://loanloop@127.0.0.1:1/loanloop")

    with pytest.raises(Unavailable):
        await store.fetch_facts()
    await store.close()
