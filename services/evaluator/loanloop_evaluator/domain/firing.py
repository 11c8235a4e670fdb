"""A row of `alerts` as Alertmanager is told of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

FACT_LASTS = timedelta(hours=72)  # a fact has no end: as long as someone may have to be told of it
STATE_LASTS = timedelta(hours=24)  # without a word from us, that is


@dataclass(frozen=True, slots=True)
class RaisedAlert:
    """`is_state`: something that holds until `resolved_at`, None as long as it holds; otherwise a fact."""

    alert_id: str
    service: str
    kind: str
    severity: str
    message: str
    raised_at: datetime
    is_state: bool
    resolved_at: datetime | None


def ends_at(alert: RaisedAlert, now: datetime) -> datetime:
    """A state that holds ends a day from each look: it outlives us by no more than that."""
    if not alert.is_state:
        return alert.raised_at + FACT_LASTS
    return alert.resolved_at or now + STATE_LASTS


def firing(alert: RaisedAlert, *, preset: str, now: datetime) -> dict[str, Any]:
    """In the form of POST /api/v2/alerts. The same labels are the same alert, however often it is posted."""
    return {
        "labels": {
            "alertname": "".join(word.capitalize() for word in alert.kind.split("_")),
            "alert_id": alert.alert_id,
            "kind": alert.kind,
            "preset": preset,  # as the metrics call it, and with them the alerts of Prometheus
            "lasts": "state" if alert.is_state else "fact",
            "service": alert.service,
            "severity": alert.severity,
            "source": "loanloop",
        },
        "annotations": {"summary": alert.message},
        "startsAt": alert.raised_at.isoformat(),
        "endsAt": ends_at(alert, now).isoformat(),
    }
