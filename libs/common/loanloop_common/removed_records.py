"""The alert that tells of loan events which Kafka removed before a service had read them."""

from dataclasses import asdict

import structlog

from loanloop_common.alerts import Alert, raise_alert
from loanloop_common.events import Severity
from loanloop_common.kafka import OnRemoved, RemovedRecords
from loanloop_common.postgres import Pool

log = structlog.get_logger()


def alert_of(removed: RemovedRecords) -> Alert:
    first, last = removed.from_offset, removed.to_offset - 1
    place = f"{removed.topic} (partition {removed.partition}, offsets {first or 0} to {last})"
    if first is None:
        severity: Severity = "warning"
        message = (
            f"Kafka no longer has the messages of {place}, and {removed.group} has no offset of its own, so it is "
            "new or was away for long: send again what it has not read before"
        )
    else:
        severity = "critical"
        message = (
            f"Kafka removed {removed.to_offset - first:,} messages of {place} before {removed.group} had read them: "
            "send those loans or outcomes again, and give the topic a longer retention"
        )
    return Alert(
        kind="records_removed",
        fact=f"{removed.group}:{removed.topic}:{removed.partition}:{first}:{removed.to_offset}",
        severity=severity,
        message=message,
        details={
            "topic": removed.topic,
            "partition": removed.partition,
            "from_offset": first,
            "to_offset": removed.to_offset,
        },
    )


def alerting(pool: Pool, *, service: str) -> OnRemoved:
    """For a service that needs each message, not the wake-up alone.

    Raises the alert before anything behind the gap is read; whoever consumes tries again if it can't be stored.
    """

    async def on_removed(removed: RemovedRecords) -> None:
        log.error("records_removed_unread", **asdict(removed))
        async with pool.acquire() as connection, connection.transaction():
            await raise_alert(connection, alert_of(removed), service=service)

    return on_removed
