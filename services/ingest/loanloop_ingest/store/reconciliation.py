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
      AND NOT EXISTS (
          SELECT FROM loan_data.alerts WHERE kind = 'reconciliation' AND details -> 'event_ids' ? event_id::text
      )
    ORDER BY event_id
    LIMIT 1000
"""


class ReconciliationStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def raise_differing(self, within: timedelta) -> list[UUID]:
        """One alert of the ids stored or decided `within` that time whose payloads differ, each once; the ids found."""
        found = [row["event_id"] for row in await self._pool.fetch(SELECT_DIFFERING, within)]
        if found:
            await self._raise(found)
        return found

    async def _raise(self, event_ids: list[UUID]) -> None:
        others = f" and {len(event_ids) - 1:,} others were" if len(event_ids) > 1 else " was"
        alert = Alert(
            kind="reconciliation",
            fact=event_ids[0],
            severity="critical",
            message=f"event {event_ids[0]}{others} stored by ingest and decided by the predictor with other payloads",
            details={"event_ids": [str(event_id) for event_id in event_ids]},
        )
        async with self._pool.acquire() as connection, connection.transaction():
            await raise_alert(connection, alert, service="ingest")
