"""The alerts of all services that may still have to be told, and what has ended."""

from datetime import datetime, timedelta

from loanloop_common.postgres import Pool

from loanloop_evaluator.domain.firing import FACT_LASTS, RaisedAlert

# A breach that opens again after its recovery takes its alert up again. A version that was refused as a challenger is a
# fact; one that was refused while it was live is a state that ends with the next deployment.
SELECT_RAISED = """
    WITH raised AS (
        SELECT alert_id::text, service, kind, severity, message, raised_at,
               kind IN ('retraining_given_up', 'training_failed')
                   OR kind = 'model_refused' AND details ? 'deployment_seq' AS is_state,
               CASE
                   WHEN kind = 'retraining_given_up' THEN (
                       SELECT closed_at FROM loan_data.breaches
                       WHERE breach_id = (details ->> 'breach_id')::bigint)
                   WHEN kind = 'training_failed' THEN (
                       SELECT min(finished_at) FROM loan_data.training_runs
                       WHERE state = 'succeeded' AND created_at > raised_at)
                   WHEN kind = 'model_refused' THEN (
                       SELECT min(deployed_at) FROM loan_data.deployments
                       WHERE deployment_seq > (details ->> 'deployment_seq')::bigint)
               END AS resolved_at
        FROM loan_data.alerts
    )
    SELECT * FROM raised
    WHERE CASE WHEN is_state THEN coalesce(resolved_at, now()) ELSE raised_at END > now() - $1::interval
    ORDER BY raised_at DESC
    LIMIT $2
"""

SELECT_NOW = "SELECT now()"


class RaisedAlertStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def fetch_now(self) -> datetime:
        now: datetime = await self._pool.fetchval(SELECT_NOW)
        return now

    async def fetch_raised(self, *, within: timedelta = FACT_LASTS, newest: int = 2000) -> list[RaisedAlert]:
        """States that hold, and what was raised or has ended no longer ago than `within`; the newest first."""
        return [RaisedAlert(*row) for row in await self._pool.fetch(SELECT_RAISED, within, newest)]
