"""Every event is stored once, whatever dies and however often it comes."""

import asyncio
import random
from functools import partial
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from loanloop.observe.queries import fetch_loan_counts
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.tools import write_tools
from loanloop_common.events import Topic
from loanloop_common.kafka import create_topics

from tests.integration.ingest.world import World
from tests.support.eventually import eventually
from tests.support.loans import as_bytes, make_loan
from tests.support.outcomes import make_outcome
from tests.support.topics import committed, remove_records

pytestmark = pytest.mark.timeout(600)


async def test_kill_between_the_database_and_the_offsets_stores_once(world: World) -> None:
    await world.start_ingest()
    await world.produce([make_loan(0)])
    await world.consumed(1)
    # With nowhere to put its dead letter, ingest has committed to the database and can't commit the offsets.
    await delete_topic(world, Topic.LOAN_RECEIVED.dead_letters)
    await world.produce([*(make_loan(n) for n in range(1, 50)), b"not json"])
    await eventually(partial(n_rejected, world), what="the database transaction")
    await world.infrastructure.kill_service("ingest")
    assert await committed(world.infrastructure.kafka_bootstrap, "ingest", Topic.LOAN_RECEIVED) < 51

    await create_topics(world.infrastructure.kafka_bootstrap)
    await world.start_ingest(instance="again")
    totals = await world.consumed(51)

    assert (totals.stored, totals.rejected, totals.duplicates) == (50, 1, 0)
    assert {record.value for record in await world.dead_letters()} == {b"not json"}
    assert await world.pool.fetchval("SELECT max(n_loans) FROM loan_data.data_quality") == 50


async def test_kills_in_mid_stream_lose_and_double_nothing(world: World) -> None:
    loans = [make_loan(number) for number in range(6000)]
    await world.start_ingest(instance="ingest-0", LOANLOOP_INGEST__BATCH_RECORDS="100")
    for n in range(3):
        await world.produce(loans[n * 2000 : (n + 1) * 2000])
        await asyncio.sleep(0.3)  # somewhere in the stream, wherever that is
        await world.infrastructure.kill_service(f"ingest-{n}", Signals.SIGKILL)
        await world.start_ingest(instance=f"ingest-{n + 1}", LOANLOOP_INGEST__BATCH_RECORDS="100")

    totals = await world.consumed(6000, within_s=90)

    assert (totals.stored, totals.duplicates) == (6000, 0)
    assert await world.pool.fetchval("SELECT count(DISTINCT event_id) FROM loan_data.raw_data") == 6000
    assert await world.pool.fetchval("SELECT max(n_loans) FROM loan_data.data_quality") == 6000


async def test_sigterm_in_mid_stream_commits_what_was_stored(world: World) -> None:
    await world.start_ingest(LOANLOOP_INGEST__BATCH_RECORDS="50")
    n = await world.produce(make_loan(number) for number in range(3000))
    await eventually(world.stored_loans)
    assert await world.infrastructure.kill_service("ingest", Signals.SIGTERM) == 0
    stored = len(await world.stored_loans())
    assert await committed(world.infrastructure.kafka_bootstrap, "ingest", Topic.LOAN_RECEIVED) == stored

    await world.start_ingest(instance="again")
    assert (await world.consumed(n)).stored == n


async def test_two_replicas_lose_no_label_of_interleaved_loans_and_outcomes(world: World) -> None:
    await world.start_ingest(instance="one", LOANLOOP_INGEST__BATCH_RECORDS="150")
    await world.start_ingest(instance="two", LOANLOOP_INGEST__BATCH_RECORDS="150")
    chance, numbers = random.Random(1), range(2000)
    loans = shuffled(chance, [make_loan(n) for n in numbers], repeated=200)
    outcomes = shuffled(chance, [make_outcome(n, correction=c) for n in numbers for c in (0, 1)], repeated=200)
    # Without keys, the events of one loan lie on any partition, so both replicas meet on the same rows.
    for start in range(0, 4400, 220):
        await world.produce(map(as_bytes, loans[start // 2 : start // 2 + 110]), keyed=False)
        await world.produce(map(as_bytes, outcomes[start : start + 220]), Topic.LOAN_OUTCOME, keyed=False)

    got_loans = await world.consumed(2200, within_s=60)
    got_outcomes = await world.consumed(4200, Topic.LOAN_OUTCOME, within_s=60)

    assert (got_loans.stored, got_loans.duplicates, got_loans.rejected) == (2000, 200, 0)
    assert (got_outcomes.stored, got_outcomes.duplicates, got_outcomes.rejected) == (4000, 200, 0)
    rows = await world.pool.fetch(
        "SELECT defaulted, outcome_event_id FROM loan_data.processed_data WHERE counts_at IS NOT NULL"
    )
    newest = {make_outcome(n, correction=1)["event_id"] for n in numbers}
    assert {str(row["outcome_event_id"]) for row in rows} == newest
    assert {row["defaulted"] for row in rows} == {False}


async def test_loans_that_kafka_removed_unread_are_alerted_of_and_the_next_are_stored(world: World) -> None:
    await world.start_ingest()
    await world.produce(make_loan(number) for number in range(20))
    await world.consumed(20)
    await world.infrastructure.kill_service("ingest")
    await world.produce(make_loan(number) for number in range(20, 50))
    await remove_records(world.infrastructure.kafka_bootstrap, Topic.LOAN_RECEIVED)
    await world.produce(make_loan(number) for number in range(50, 60))

    await world.start_ingest(instance="again")
    await eventually(partial(n_stored, world, 30), within_s=40)

    async with world.pool.acquire() as connection:
        counts = await fetch_loan_counts(connection, received=None, as_of=None)
    assert (counts.stored, counts.removed) == (30, 30)
    alerts = await world.pool.fetch("SELECT message FROM loan_data.alerts WHERE kind = 'records_removed'")
    assert alerts
    assert all("send those loans or outcomes again" in alert["message"] for alert in alerts)


@pytest.mark.embedded
async def test_plain_json_from_the_console_producer_is_stored(world: World, tmp_path: Path) -> None:
    assert isinstance(world.infrastructure, EmbeddedInfrastructure)
    tool = write_tools(world.infrastructure) / "kafka-console-producer"
    lines = b"\n".join(as_bytes(make_loan(number)) for number in range(3)) + b"\n"
    process = await asyncio.create_subprocess_exec(tool, "--topic", "loan.received", stdin=asyncio.subprocess.PIPE)
    await process.communicate(lines)
    assert process.returncode == 0

    await world.start_ingest()
    assert (await world.consumed(3)).stored == 3


def shuffled(chance: random.Random, events: list[dict[str, Any]], *, repeated: int) -> list[dict[str, Any]]:
    mixed = events + chance.sample(events, repeated)
    chance.shuffle(mixed)
    return mixed


async def n_stored(world: World, n: int) -> bool:
    return len(await world.stored_loans()) == n


async def n_rejected(world: World) -> int:
    n: int = await world.pool.fetchval("SELECT count(*) FROM loan_data.rejected")
    return n


async def delete_topic(world: World, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=world.infrastructure.kafka_bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([name])
    finally:
        await admin.close()
