"""What ingest made of the loans that arrived, and the alert about it."""

from loanloop_common.alerts import Alert, raise_alert
from loanloop_common.postgres import Pool

from loanloop_evaluator.domain.quality import ArrivedLoans
from loanloop_evaluator.store.deployments import SERVICE

SELECT_ARRIVED = """
    SELECT days.day, coalesce(stored.n, 0) AS n_stored, coalesce(rejected.by_reason, '{}') AS rejected
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date - back AS day FROM generate_series(0, 1) AS back) days
    LEFT JOIN LATERAL (
        SELECT max(n_loans) AS n FROM loan_data.data_quality WHERE day = days.day
    ) stored ON true
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(reason, n) AS by_reason FROM (
            SELECT concat_ws(' ', reason, field) AS reason, count(*) AS n FROM loan_data.rejected
            WHERE service = 'ingest' AND topic = 'loan.received'
              AND rejected_at >= days.day::timestamp AT TIME ZONE 'UTC'
              AND rejected_at < (days.day + 1)::timestamp AT TIME ZONE 'UTC'
            GROUP BY 1
        ) counted
    ) rejected ON true
    ORDER BY days.day
"""


class QualityStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def fetch_arrived(self) -> list[ArrivedLoans]:
        """Of yesterday and of today so far. A loan is rejected by ingest alone."""
        rows = await self._pool.fetch(SELECT_ARRIVED)
        return [ArrivedLoans(*row) for row in rows]

    async def raise_complaint(self, arrived: ArrivedLoans, complaint: str) -> bool:
        """Once for a day; False where it has been said."""
        alert = Alert(
            kind="data_quality",
            fact=f"rejected:{arrived.day}",
            severity="warning",
            message=complaint,
            details={"day": arrived.day.isoformat(), "n_loans": arrived.n, "rejected": dict(arrived.rejected)},
        )
        async with self._pool.acquire() as connection, connection.transaction():
            return await raise_alert(connection, alert, service=SERVICE)
