"""Events a second through ingest, from Kafka to commit, beside a bare COPY of the same messages in the same run.

    python bench/ingest.py [--loans 60000] [--batch 2000]

Kafka, PostgreSQL and ingest run on this machine. As many outcomes as loans are sent. The COPY goes into a table
without an index, in batches of the same size. Prints one JSON object; what counts is `ratio`, since machines and their
load differ.
"""

import argparse
import asyncio
import json
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

from loanloop.production import EventSequence, Outcomes, Selection, Sender, Sent
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.ports import ANY_FREE
from loanloop_common.kafka import create_topics, make_broker, publish_batch, stop_broker
from loanloop_common.portfolio import load_portfolio
from loanloop_common.postgres import Pool, create_pool, migrate
from loanloop_common.resources import resource_folder
from loanloop_common.settings import KafkaSettings
from loanloop_ingest.domain.file_events import RowReader
from loanloop_ingest.loan_files import open_loan_file
from loanloop_ingest.store.totals import fetch_totals

SAMPLE = resource_folder("portfolios") / "sba" / "loans.parquet"
COLUMNS = ["event_id", "topic", "kafka_partition", "kafka_offset", "loan_id", "occurred_at", "payload"]


def make_events(n_loans: int) -> EventSequence:
    reader = RowReader(load_portfolio("sba"))
    selection = Selection(now=datetime.now(UTC), limit=n_loans, outcomes=Outcomes.DUE)
    return EventSequence(open_loan_file(SAMPLE), reader, selection, print)


async def produced(infrastructure: EmbeddedInfrastructure, n_loans: int) -> tuple[Sent, float]:
    """What was sent, and loans a second."""
    await create_topics(infrastructure.kafka_bootstrap)
    broker = make_broker(KafkaSettings(bootstrap_servers=infrastructure.kafka_bootstrap), service="bench")
    await broker.connect()
    sent, started = Sent(), time.perf_counter()
    try:
        await Sender(partial(publish_batch, broker)).send(iter(make_events(n_loans)), sent, asyncio.Event())
    finally:
        await stop_broker(broker)
    return sent, sent.loans / (time.perf_counter() - started)


async def ingested(infrastructure: EmbeddedInfrastructure, pool: Pool, n_events: int, batch: int) -> float:
    """Events a second, from the first that is stored to the last."""
    settings = {"LOANLOOP_POSTGRES__DSN": infrastructure.postgres_dsn, "LOANLOOP_PORTFOLIO": "sba"}
    await infrastructure.start_service("ingest", **settings, LOANLOOP_INGEST__BATCH_RECORDS=str(batch))
    first = 0
    started = time.perf_counter()
    while (stored := await pool.fetchval("SELECT count(*) FROM loan_data.event_keys")) < n_events:
        if not first and stored:
            first, started = stored, time.perf_counter()
        await asyncio.sleep(0.05)
    return (n_events - first) / (time.perf_counter() - started)


async def copied(pool: Pool, n_loans: int, batch: int) -> float:
    """Events a second by COPY alone."""
    rows = [
        (
            UUID(json.loads(event.value)["event_id"]),
            str(event.topic),
            0,
            n,
            event.key.decode(),
            event.due_at,
            event.value,
        )
        for n, event in enumerate(make_events(n_loans))
    ]
    await pool.execute("CREATE TABLE bare AS SELECT * FROM loan_data.raw_data WITH NO DATA")
    started = time.perf_counter()
    for start in range(0, len(rows), batch):
        async with pool.acquire() as connection:
            await connection.copy_records_to_table("bare", columns=COLUMNS, records=rows[start : start + batch])
    return len(rows) / (time.perf_counter() - started)


async def measure(n_loans: int, batch: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedInfrastructure(Path(folder), ports=ANY_FREE) as infrastructure:
            await migrate(infrastructure.postgres_dsn)
            pool = await create_pool(infrastructure.postgres_dsn, application_name="bench")
            sent, loans_per_s = await produced(infrastructure, n_loans)
            events_per_s = await ingested(infrastructure, pool, sent.events, batch)
            await infrastructure.stop_services()
            totals = await fetch_totals(pool)
            copies_per_s = await copied(pool, n_loans, batch)
            await pool.close()
    return {
        "events": sent.events,
        "produced_loans_per_s": round(loans_per_s),
        "ingested_events_per_s": round(events_per_s),
        "copied_events_per_s": round(copies_per_s),
        "ratio": round(events_per_s / copies_per_s, 3),
        "all_stored": all(t.add_up and t.stored == t.received for t in totals.values()),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--loans", type=int, default=60_000)
    parser.add_argument("--batch", type=int, default=2000)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(measure(arguments.loans, arguments.batch)), indent=2))
