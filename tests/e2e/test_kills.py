"""kill -9 of anything in mid-stream: afterwards every loan is stored once, decided once, published at least once."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from loanloop_common.events import Topic

from tests.e2e.world import SERVICES, Loan, World, loans
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(600)

SLICE = 50


async def restart_kafka(world: World) -> None:
    await world.infrastructure.kill_kafka()
    await world.infrastructure.start_kafka()


async def restart_postgres(world: World) -> None:
    await world.infrastructure.kill_postgres()
    await world.infrastructure.start_postgres()


async def test_nothing_is_lost_or_done_twice_when_everything_is_killed_in_mid_stream(world: World) -> None:
    await world.start()
    history = await world.first_model()
    kills: list[Callable[[], Awaitable[None]]] = [
        *(lambda name=name: world.restart(name) for name in SERVICES),
        lambda: restart_kafka(world),
        lambda: restart_postgres(world),
    ]

    all_killed = asyncio.Event()
    streaming = asyncio.create_task(stream(world, first=len(history), until=all_killed))
    for kill in kills:
        await asyncio.sleep(0.5)
        assert not streaming.done(), streaming
        await kill()
    all_killed.set()
    new = await streaming
    await world.decided([loan.event_id for loan in new], within_s=120)
    await eventually(lambda: all_stored(world, len(history) + len(new)), within_s=60)

    assert await counts(world) == {
        "stored": len(history) + len(new),
        "stored twice": 0,
        "decided": len(new),
        "decided twice": 0,
        "rejected": 0,
    }
    # Published behind the commit in the database, so it may come a moment later.
    await eventually(lambda: all_published(world, {loan.event_id for loan in new}), within_s=60)
    assert {len(decisions) for decisions in (await published(world)).values()} == {1}


async def stream(world: World, *, first: int, until: asyncio.Event) -> list[Loan]:
    """A slice is sent again until it is acknowledged, as any producer would: some loans arrive twice."""
    new: list[Loan] = []
    while not until.is_set():
        new += loans(SLICE, first=first + len(new))
        events = [loan.received for loan in new[-SLICE:]]
        await eventually(lambda events=events: sent(world, events), within_s=60)  # type: ignore[misc]
        await asyncio.sleep(0.2)
    return new


async def sent(world: World, events: list[dict[str, object]]) -> bool:
    from loanloop_common.errors import Unavailable

    try:
        await world.send(Topic.LOAN_RECEIVED, events)
    except Unavailable:
        return False
    return True


async def all_stored(world: World, n: int) -> bool:
    stored: int = await world.pool.fetchval("SELECT count(*) FROM loan_data.event_keys")
    return stored == n


async def all_published(world: World, event_ids: set[str]) -> bool:
    return set(await published(world)) == event_ids


async def published(world: World) -> dict[str, set[UUID]]:
    """The decisions by the loan's event."""
    decisions = defaultdict(set)
    for event in await world.scored():
        decisions[str(event.loan_event_id)].add(event.event_id)
    return decisions


async def counts(world: World) -> dict[str, int]:
    row = await world.pool.fetchrow(
        """
        SELECT
            (SELECT count(*) FROM loan_data.raw_data) AS "stored",
            (SELECT count(*) - count(DISTINCT event_id) FROM loan_data.raw_data) AS "stored twice",
            (SELECT count(*) FROM loan_data.predictions) AS "decided",
            (SELECT count(*) - count(DISTINCT event_id) FROM loan_data.predictions) AS "decided twice",
            (SELECT count(*) FROM loan_data.rejected) AS "rejected"
        """
    )
    return dict(row or {})
