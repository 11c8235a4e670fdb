"""Events a second through ingest, from Kafka to commit, beside a bare COPY of the same rows in the same run.

As many outcomes as loans are sent. The COPY goes into two tables like raw_data and processed_data but without an index,
in batches of the same size.
"""

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from loanloop_common.events import Topic
from loanloop_common.kafka import publish_batch
from loanloop_common.postgres import Pool

from bench.installation import Installation, fresh_installation
from bench.registry import Options
from bench.result import Found, Goal
from bench.workload import Message, make_messages, make_outcomes

TITLE = "events a second through ingest, beside a bare COPY"
BATCH_RECORDS = 2000
EVENT_COLUMNS = ["event_id", "topic", "kafka_partition", "kafka_offset", "loan_id", "occurred_at", "payload"]


async def ingested(installation: Installation, n_events: int) -> float:
    """Events a second, from the first that is stored to the last."""
    settings = {"LOANLOOP_PORTFOLIO": "sba", "LOANLOOP_INGEST__BATCH_RECORDS": str(BATCH_RECORDS)}
    await installation.infrastructure.start_service("ingest", **settings)
    first, started = 0, 0.0
    while (stored := await installation.pool.fetchval("SELECT count(*) FROM loan_data.event_keys")) < n_events:
        if not first and stored:
            first, started = stored, time.perf_counter()
        await asyncio.sleep(0.05)
    return (n_events - first) / (time.perf_counter() - started)


def rows_of(topic: Topic, messages: list[Message]) -> list[tuple[Any, ...]]:
    day = datetime(2006, 1, 1, tzinfo=UTC)
    return [
        (UUID(json.loads(value)["event_id"]), str(topic), 0, n, key.decode(), day, value)
        for n, (key, value) in enumerate(messages)
    ]


async def copied(pool: Pool, events: list[tuple[Any, ...]], n_loans: int) -> float:
    """Events a second by COPY alone, into both tables: each event raw, each loan processed."""
    await pool.execute("CREATE TABLE bare_raw AS SELECT * FROM loan_data.raw_data WITH NO DATA")
    await pool.execute("CREATE TABLE bare_processed (loan_id text, occurred_at timestamptz, features text)")
    features = [json.dumps(json.loads(event[-1])["features"]) for event in events[:n_loans]]
    loans = [(event[4], event[5], text) for event, text in zip(events, features, strict=False)]
    started = time.perf_counter()
    async with pool.acquire() as connection:
        for start in range(0, len(events), BATCH_RECORDS):
            batch = slice(start, start + BATCH_RECORDS)
            await connection.copy_records_to_table("bare_raw", columns=EVENT_COLUMNS, records=events[batch])
            await connection.copy_records_to_table(
                "bare_processed", columns=["loan_id", "occurred_at", "features"], records=loans[batch]
            )
    return len(events) / (time.perf_counter() - started)


async def measure(n_loans: int, options: Options) -> tuple[float, float]:
    loans, outcomes = make_messages(n_loans), make_outcomes(n_loans)
    async with fresh_installation() as installation:
        await publish_batch(installation.broker, Topic.LOAN_RECEIVED, loans)
        await publish_batch(installation.broker, Topic.LOAN_OUTCOME, outcomes)
        options.say(f"{n_loans:,} loans and as many outcomes")
        ingested_per_s = await ingested(installation, 2 * n_loans)
        await installation.infrastructure.stop_services()
        options.say("COPY")
        events = rows_of(Topic.LOAN_RECEIVED, loans) + rows_of(Topic.LOAN_OUTCOME, outcomes)
        copied_per_s = await copied(installation.pool, events, n_loans)
    return ingested_per_s, copied_per_s


def run(options: Options) -> Found:
    n_loans = 500_000 if options.long else 50_000
    ingested_per_s, copied_per_s = asyncio.run(measure(n_loans, options))
    ratio = ingested_per_s / copied_per_s
    return Found(
        goals=(Goal("ingest / bare COPY of the same rows", ratio, 0.5),),
        rows=[
            {"what": "ingest", "events_per_s": ingested_per_s, "ratio": ratio},
            {"what": "bare COPY", "events_per_s": copied_per_s, "ratio": 1.0},
        ],
        sizes={"loans": n_loans, "outcomes": n_loans, "records_a_batch": BATCH_RECORDS, "preset": "sba"},
        bars=("what", "events_per_s"),
    )
