"""Events a second through ingest, from Kafka to commit, beside a bare COPY of the same rows in the same run.

As many outcomes as loans are sent, before ingest begins, so most batches bring a loan with its outcome and store it as
one new row. Outcomes that come later change rows: PostgreSQL then took 12.5 to 13.3 us an event instead of 9.2
(docs/decisions/0050).

The COPY takes the very rows that ingest has left in raw_data and processed_data, in batches of the same size, to two
tables of the same columns and types without an index, a key or a generated column. A leaner one, of the old limit, is
shown beside it: of a loan its id, date and features alone, as text.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
from loanloop_common.events import Topic
from loanloop_common.kafka import publish_batch

from bench.installation import Installation, fresh_installation
from bench.processor_time import ProcessorTime
from bench.progress import seen_until
from bench.registry import Options
from bench.result import Found, Goal
from bench.workload import make_messages, make_outcomes

TITLE = "events a second through ingest, beside a bare COPY"
BATCH_RECORDS = 2000
# received_at is when a transaction began. From the first beginning to the last one all but the last were stored.
EVENTS_A_SECOND = """
    SELECT count(*) FILTER (WHERE received_at < last_began) / extract(epoch FROM last_began - first_began)
    FROM loan_data.event_keys, (
        SELECT min(received_at) AS first_began, max(received_at) AS last_began FROM loan_data.event_keys
    ) AS began
    GROUP BY first_began, last_began
"""
BARE = {
    "CREATE TABLE bare_raw AS SELECT * FROM loan_data.raw_data WITH NO DATA": "SELECT * FROM loan_data.raw_data",
    "CREATE TABLE bare_loans AS SELECT * FROM loan_data.processed_data WITH NO DATA": (
        "SELECT * FROM loan_data.processed_data"
    ),
}
LEAN = {
    "CREATE TABLE lean_raw AS SELECT * FROM loan_data.raw_data WITH NO DATA": (
        "SELECT event_id, topic, kafka_partition, kafka_offset, loan_id, occurred_at, payload FROM loan_data.raw_data"
    ),
    "CREATE TABLE lean_loans (loan_id text, occurred_at timestamptz, features text)": (
        "SELECT loan_id, occurred_at, features::text AS features FROM loan_data.processed_data"
    ),
}


async def ingested(installation: Installation, n_events: int) -> tuple[float, dict[str, float]]:
    """Events a second, from the first transaction to the last, and processor time by process for each event."""
    settings = {"LOANLOOP_PORTFOLIO": "sba", "LOANLOOP_INGEST__BATCH_RECORDS": str(BATCH_RECORDS)}
    await installation.infrastructure.start_service("ingest", **settings)
    n_stored = partial(installation.pool.fetchval, "SELECT count(*) FROM loan_data.event_keys")
    _, first = (await seen_until(1, n_stored, "events are stored"))[-1]
    used = ProcessorTime()
    # Each look costs PostgreSQL some of the time that is measured.
    await seen_until(n_events, n_stored, "events are stored", look_every_s=0.5)
    used_us = used.us_each(n_events - first)
    return float(await installation.pool.fetchval(EVENTS_A_SECOND)), used_us


async def copied(dsn: str, tables: dict[str, str], n_events: int) -> float:
    """Events a second by COPY alone, the rows being in memory when the clock runs."""
    took_s = 0.0
    source, target = await asyncpg.connect(dsn), await asyncpg.connect(dsn)  # as the driver comes: JSON is text
    try:
        for create, select in tables.items():
            await target.execute(create)
            async for rows in batches(source, select):
                columns, name = list(rows[0].keys()), create.split()[2]
                records = [tuple(row) for row in rows]
                started = time.perf_counter()
                await target.copy_records_to_table(name, columns=columns, records=records)
                took_s += time.perf_counter() - started
    finally:
        await source.close()
        await target.close()
    return n_events / took_s


async def batches(connection: asyncpg.Connection, select: str) -> AsyncIterator[list[Any]]:
    async with connection.transaction():
        cursor = await connection.cursor(select)
        while rows := await cursor.fetch(BATCH_RECORDS):
            yield rows


async def measure(n_loans: int, options: Options) -> tuple[float, float, float, dict[str, float]]:
    loans, outcomes = make_messages(n_loans), make_outcomes(n_loans)
    async with fresh_installation() as installation:
        await publish_batch(installation.broker, Topic.LOAN_RECEIVED, loans)
        await publish_batch(installation.broker, Topic.LOAN_OUTCOME, outcomes)
        options.say(f"{n_loans:,} loans and as many outcomes")
        ingested_per_s, used_us = await ingested(installation, 2 * n_loans)
        await installation.infrastructure.stop_services()
        options.say("COPY")
        dsn = installation.infrastructure.postgres_dsn
        copied_per_s, lean_per_s = [await copied(dsn, tables, 2 * n_loans) for tables in (BARE, LEAN)]
    return ingested_per_s, copied_per_s, lean_per_s, used_us


def run(options: Options) -> Found:
    n_loans = 500_000 if options.long else 50_000
    ingested_per_s, copied_per_s, lean_per_s, used_us = asyncio.run(measure(n_loans, options))
    ratio = ingested_per_s / copied_per_s
    more = {"ratio_lean": ingested_per_s / lean_per_s, **{f"cpu_us_{name}": us for name, us in used_us.items()}}
    return Found(
        goals=(Goal("ingest / bare COPY of the same rows", ratio, 0.5),),
        rows=[
            {"what": "ingest", "events_per_s": ingested_per_s, "ratio": ratio, **more},
            {"what": "bare COPY", "events_per_s": copied_per_s, "ratio": 1.0},
            {"what": "lean COPY", "events_per_s": lean_per_s, "ratio": lean_per_s / copied_per_s},
        ],
        sizes={"loans": n_loans, "outcomes": n_loans, "records_a_batch": BATCH_RECORDS, "preset": "sba"},
        bars=("what", "events_per_s"),
    )
