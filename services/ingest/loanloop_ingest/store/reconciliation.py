"""Finds events that ingest and the predictor hold with different payloads under one id."""

from datetime import timedelta
from uuid import UUID

from loanloop_common.alerts import Alert, raise_alert
from loanloop_common.postgres import Pool

SELECT_DIFFERING = """
    SELECT event_id
    FROM (
        SELECT event_id, stored.payload_sha256 <> decided.payload_sha256 AS differs
        FROM loan_data.event_keys AS stored JOIN loan_data.decision_keys AS decided USING (event_id)
        WHERE stored.received_at > now() - $1::interval
        UNION
        SELECT event_id, stored.payload_sha256 <> decided.payload_sha256
        FROM loan_data.decision_keys AS decided JOIN loan_data.event_keys AS stored USING (event_id)
        WHERE decided.decided_at > now() - $1::interval
    ) AS recent
    WHERE differs
      AND NOT EXISTS (SELECT FROM loan_data.alerts WHERE dedup_key = 'reconciliation:' || event_id)
    ORDER BY event_id
    LIMIT 100
"""


class ReconciliationStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def raise_differing(self, within: timedelta) -> list[UUID]:
        """Alert, once for each, of ids stored or decided `within` that time whose payloads differ; the ids found."""
        found = [row["event_id"] for row in await self._pool.fetch(SELECT_DIFFERING, within)]
        for event_id in found:
            await self._raise(event_id)
        return found

    async def _raise(self, event_id: UUID) -> None:
        message = f"event {event_id} was stored by ingest and decided by the predictor with different payloads"
        details = {"event_id": str(event_id)}
        alert = Alert(kind="reconciliation", fact=event_id, severity="critical", message=message, details=details)
        async with self._pool.acquire() as connection, connection.transaction():
            await raise_alert(connection, alert, service="ingest")
