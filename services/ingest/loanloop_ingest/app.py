"""Composition root of ingest: `python -m loanloop_ingest.app`."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from loanloop_common.dead_letters import publish_refusals
from loanloop_common.events import Topic
from loanloop_common.instances import Heartbeat
from loanloop_common.kafka import BatchConsumer, Broker, make_broker, publish_batch, stop_broker
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.outbox import OutboxRelay
from loanloop_common.portfolio import Portfolio, load_portfolio
from loanloop_common.postgres import Pool, create_pool

from loanloop_ingest.collector import Collector
from loanloop_ingest.config import IngestOptions, IngestSettings
from loanloop_ingest.domain.file_events import FileEvent, RowReader
from loanloop_ingest.domain.messages import MessageReader
from loanloop_ingest.handlers import BatchHandler
from loanloop_ingest.store.collected_files import CollectedFileStore
from loanloop_ingest.store.loans import LoanStore

log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


def make_consumer(pool: Pool, broker: Broker, portfolio: Portfolio, options: IngestOptions) -> BatchConsumer:
    codec = LoanCodec(portfolio)
    reader = MessageReader(codec, maturity=timedelta(days=portfolio.policy.maturity_days))
    handler = BatchHandler(
        reader=reader,
        store=LoanStore(pool, reader.fields),
        publish_refusals=partial(publish_refusals, broker),
        clock=_now,
    )
    return BatchConsumer(
        broker,
        Topic.LOAN_RECEIVED,
        Topic.LOAN_OUTCOME,
        group="ingest",
        handle=handler.store_batch,
        name="ingest",
        max_records=options.batch_records,
    )


def make_collector(pool: Pool, broker: Broker, portfolio: Portfolio, options: IngestOptions) -> Collector | None:
    if options.collect_folder is None:
        return None

    async def publish(events: Sequence[FileEvent]) -> None:
        await publish_batch(broker, Topic.LOAN_RECEIVED, [(event.key, event.value) for event in events])

    return Collector(
        folder=options.collect_folder,
        reader=RowReader(portfolio),
        store=CollectedFileStore(pool),
        publish=publish,
        clock=_now,
    )


async def serve(settings: IngestSettings, stop: asyncio.Event) -> None:
    """Runs until `stop` is set, then lets the batch in hand finish."""
    portfolio = load_portfolio(settings.portfolio)
    options = settings.ingest
    pool = await create_pool(settings.postgres.dsn, application_name="ingest", max_size=settings.postgres.pool_size)
    broker = make_broker(settings.kafka, service="ingest")
    await broker.connect()
    await LoanStore(pool, ()).ensure_partitions()
    consumer = make_consumer(pool, broker, portfolio, options)
    relay = OutboxRelay(pool, broker, service="ingest")
    heartbeat = Heartbeat(pool, service="ingest", instance_id=settings.instance_id)
    await relay.start()
    await consumer.start()
    await heartbeat.start()
    await stop.wait()
    await consumer.stop()
    await relay.stop()
    await heartbeat.stop()
    await stop_broker(broker)
    await pool.close()
