"""Composition root of ingest: `python -m loanloop_ingest.app`."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from loanloop_common.dead_letters import publish_refusals
from loanloop_common.events import Topic
from loanloop_common.kafka import BatchConsumer, publish_batch
from loanloop_common.lifecycle import Foundation, Part, run_service
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.outbox import OutboxRelay
from loanloop_common.partitions import partitions_ahead
from loanloop_common.polling import Poller
from loanloop_common.removed_records import alerting
from loanloop_common.sampled_lines import FollowedLines

from loanloop_ingest.collector import Collector
from loanloop_ingest.config import IngestSettings
from loanloop_ingest.domain.file_events import RowReader
from loanloop_ingest.domain.messages import MessageReader
from loanloop_ingest.handlers import BatchHandler, reconcile
from loanloop_ingest.store.collected_files import CollectedFileStore
from loanloop_ingest.store.loans import LoanStore
from loanloop_ingest.store.reconciliation import ReconciliationStore

SERVICE = "ingest"


def _now() -> datetime:
    return datetime.now(UTC)


def make_consumer(base: Foundation[IngestSettings]) -> BatchConsumer:
    maturity = timedelta(days=base.portfolio.policy.maturity_days)
    reader = MessageReader(LoanCodec(base.portfolio), maturity=maturity)
    handler = BatchHandler(
        reader=reader,
        store=LoanStore(base.pool, reader.fields),
        publish_refusals=partial(publish_refusals, base.broker),
        clock=_now,
        followed=FollowedLines(per_s=base.settings.log_followed_per_s),
    )
    return BatchConsumer(
        base.broker,
        Topic.LOAN_RECEIVED,
        Topic.LOAN_OUTCOME,
        group=SERVICE,
        handle=handler.read_batch,
        name=SERVICE,
        max_records=base.settings.ingest.batch_records,
    )


def make_collector(base: Foundation[IngestSettings], folder: Path) -> Collector:
    return Collector(
        folder=folder,
        reader=RowReader(base.portfolio),
        store=CollectedFileStore(base.pool),
        publish=partial(publish_batch, base.broker, Topic.LOAN_RECEIVED),
        clock=_now,
        every_s=base.settings.ingest.collect_every_s,
        settled_s=base.settings.ingest.collect_settled_s,
    )


async def build(base: Foundation[IngestSettings]) -> Sequence[Part]:
    options = base.settings.ingest
    base.broker.on_removed = alerting(base.pool, service=SERVICE)
    relay = OutboxRelay(base.pool, base.broker, service=SERVICE)
    differing = ReconciliationStore(base.pool)
    partitions = await partitions_ahead(base.pool)
    parts: list[Part] = [
        relay,
        partitions,
        Poller(partial(reconcile, differing, relay.wake), every_s=options.reconcile_every_s, name="reconciliation"),
        make_consumer(base),
    ]
    if options.collect_folder is not None:
        parts.append(make_collector(base, options.collect_folder))
    return parts


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, IngestSettings, build))
