"""The end of a run without a model, and the alert that says so."""

from uuid import UUID

from loanloop_common.postgres import Connection

from loanloop_trainer.store.alerts import raise_alert

FAIL = """
    UPDATE loan_data.training_runs
    SET state = 'failed', error = $3, finished_at = clock_timestamp(), checkpoint = NULL
    WHERE run_id = $1 AND owner IS NOT DISTINCT FROM $2 AND state IN ('queued', 'running')
    RETURNING trigger, breach_id, attempt, labels_total, crashes
"""


async def fail_run(connection: Connection, run_id: UUID, owner: str | None, error: str) -> bool:
    """In the caller's transaction; False when the run is not this owner's or has ended."""
    row = await connection.fetchrow(FAIL, run_id, owner, error)
    if row is None:
        return False
    details = {"run_id": str(run_id), **dict(row)}
    await raise_alert(connection, "training_failed", run_id, f"Training failed: {error}", details)
    return True
