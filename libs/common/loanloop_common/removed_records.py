"""The alert that tells of loan events which Kafka removed before a service had read them."""

from dataclasses import asdict

import structlog

from loanloop_common.alerts import Alert, raise_alert
from loanloop_common.events import Topic
from loanloop_common.kafka import OnRemoved, RemovedRecords
from loanloop_common.postgres import Pool

log = structlog.get_logger()

# A reader of model.* takes the event as a wake-up and looks into the database: it misses nothing.
_IRREPLACEABLE = {Topic.LOAN_RECEIVED, Topic.LOAN_OUTCOME}


def alert_of(removed: RemovedRecords) -> Alert:
    place = f"{removed.topic} (partition {removed.partition}, offsets {removed.from_offset} to {removed.to_offset - 1})"
    return Alert(
        kind="records_removed",
        fact=f"{removed.group}:{removed.topic}:{removed.partition}:{removed.from_offset}:{removed.to_offset}",
        severity="critical",
        message=(
            f"Kafka removed {removed.to_offset - removed.from_offset:,} messages of {place} before {removed.group} "
            f"had read them: send those loans or outcomes again, and give the topic a longer retention"
        ),
        details={
            "topic": removed.topic,
            "partition": removed.partition,
            "from_offset": removed.from_offset,
            "to_offset": removed.to_offset,
        },
    )


def alerting(pool: Pool, *, service: str) -> OnRemoved:
    """Raises the alert before anything behind the gap is read; whoever consumes tries again if it can't be stored."""

    async def on_removed(removed: RemovedRecords) -> None:
        log.error("records_removed_unread", **asdict(removed))
        if removed.topic in _IRREPLACEABLE:
            async with pool.acquire() as connection, connection.transaction():
                await raise_alert(connection, alert_of(removed), service=service)

    return on_removed
