"""Alerts about the loans that arrive, on a real database."""

from loanloop_common.events import AlertRaised, Topic
from loanloop_evaluator.domain.quality import QualityRule
from loanloop_evaluator.handlers.quality import QualityWatch
from loanloop_evaluator.store.quality import QualityStore

from tests.integration.evaluator.world import World


def watch(world: World) -> QualityWatch:
    return QualityWatch(QualityStore(world.pool), QualityRule(max_rejected_share=0.1, min_loans=50))


async def arrive(world: World, *, stored: int, rejected: int, days_ago: int = 0, service: str = "ingest") -> None:
    """As ingest writes it: two fields of each stored loan counted, a dead letter for each rejected one."""
    await world.pool.execute(
        """
        INSERT INTO loan_data.data_quality AS q (day, field, n_loans, n_missing)
        SELECT (now() AT TIME ZONE 'UTC')::date - $1::integer, field, $2, 0 FROM unnest(ARRAY['a', 'b']) AS field
        ON CONFLICT (day, field) DO UPDATE SET n_loans = q.n_loans + excluded.n_loans
        """,
        days_ago,
        stored,
    )
    await world.pool.execute(
        """
        INSERT INTO loan_data.rejected (service, topic, kafka_partition, kafka_offset, reason, field, message,
                                        payload, payload_bytes, payload_sha256, rejected_at)
        SELECT $1, 'loan.received', $2, coalesce((SELECT max(kafka_offset) FROM loan_data.rejected), 0) + n,
               'invalid_field', 'features.employees', 'no', '', 0, '', now() - make_interval(days => $2)
        FROM generate_series(1, $3::integer) AS n
        """,
        service,
        days_ago,
        rejected,
    )


async def alerts(world: World) -> list[AlertRaised]:
    return [event for event in await world.events(Topic.ALERT_RAISED) if isinstance(event, AlertRaised)]


async def test_a_day_with_too_many_rejected_loans_raises_one_alert_however_often_it_is_seen(world: World) -> None:
    await arrive(world, stored=80, rejected=20)

    await watch(world).look()
    await arrive(world, stored=0, rejected=20)
    await watch(world).look()

    (alert,) = await alerts(world)
    assert (alert.kind, alert.service, alert.severity) == ("data_quality", "evaluator", "warning")
    assert "20 of the 100 loans" in alert.message
    assert alert.details["rejected"] == {"invalid_field features.employees": 20}
    assert await world.pool.fetchval("SELECT count(*) FROM loan_data.alerts") == 1


async def test_yesterday_and_today_are_two_facts(world: World) -> None:
    await arrive(world, stored=80, rejected=20)
    await arrive(world, stored=60, rejected=40, days_ago=1)

    await watch(world).look()

    assert ["40 of the 100" in alert.message for alert in await alerts(world)] == [True, False]


async def test_few_rejected_loans_few_loans_and_old_days_raise_none(world: World) -> None:
    await arrive(world, stored=95, rejected=5)
    await arrive(world, stored=5, rejected=5, days_ago=1)
    await arrive(world, stored=10, rejected=90, days_ago=2)
    await arrive(world, stored=0, rejected=90, service="collector")

    await watch(world).look()

    assert await alerts(world) == []
