"""Alerts: a row and its event, once for each fact, however often it is found."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from loanloop_common.events import AlertKind, AlertRaised, Severity, Topic
from loanloop_common.outbox_rows import enqueue
from loanloop_common.postgres import Connection

INSERT_ALERT = """
    INSERT INTO loan_data.alerts (service, kind, dedup_key, severity, message, details)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (dedup_key) DO NOTHING
    RETURNING alert_id, raised_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """`fact` tells what one alert of a kind is about from what the next one is. `occurred_at`: now, if left out."""

    kind: AlertKind
    fact: object
    severity: Severity
    message: str
    details: dict[str, Any] = field(default_factory=dict)
    occurred_at: datetime | None = None


async def raise_alert(connection: Connection, alert: Alert, *, service: str) -> bool:
    """In the caller's transaction; False where this fact has been raised before."""
    row = await connection.fetchrow(
        INSERT_ALERT,
        service,
        alert.kind,
        f"{alert.kind}:{alert.fact}",
        alert.severity,
        alert.message,
        alert.details,
    )
    if row is None:
        return False
    event = _event_of(alert, service, row["alert_id"], row["raised_at"])
    await enqueue(connection, service=service, topic=Topic.ALERT_RAISED, key=alert.kind, event=event)
    return True


def _event_of(alert: Alert, service: str, alert_id: UUID, raised_at: datetime) -> AlertRaised:
    return AlertRaised(
        event_id=alert_id,
        occurred_at=alert.occurred_at or raised_at,
        kind=alert.kind,
        service=service,
        severity=alert.severity,
        message=alert.message,
        details=alert.details,
    )
