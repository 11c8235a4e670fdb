"""What the decision to train rests on: labels, runs, verdicts, what is live and its breach."""

from datetime import datetime

from loanloop_common.event_time import fetch_as_of
from loanloop_common.postgres import Connection

from loanloop_trainer.domain.trigger import LastRun, OpenBreach, Situation

COUNT_LABELS = "SELECT count(*) FROM loan_data.processed_data WHERE counts_at <= $1"

SELECT_LIVE = """
    SELECT version, pinned FROM loan_data.deployments
    WHERE slot = $1
    ORDER BY deployment_seq DESC
    LIMIT 1
"""

IS_RUN_OPEN = "SELECT EXISTS (SELECT FROM loan_data.training_runs WHERE state IN ('queued', 'running'))"

SELECT_UNJUDGED = """
    SELECT m.version
    FROM (SELECT version FROM loan_data.model_metadata ORDER BY number DESC LIMIT 1) m
    WHERE NOT EXISTS (
        SELECT FROM loan_data.model_performance p
        WHERE p.version = m.version AND p.kind = 'gate' AND p.role = 'challenger')
    AND NOT EXISTS (SELECT FROM loan_data.deployments d WHERE d.version = m.version)
"""

SELECT_LAST_RUN = """
    SELECT coalesce(labels_total, 0) AS labels_total, state, finished_at FROM loan_data.training_runs
    WHERE state IN ('succeeded', 'failed')
    ORDER BY finished_at DESC
    LIMIT 1
"""

SELECT_BREACH = """
    SELECT b.breach_id,
        count(*) FILTER (WHERE NOT verdict.passed AND NOT verdict.pinned) AS rejected,
        count(*) FILTER (WHERE r.state = 'failed') AS failed,
        max(r.labels_total) AS labels_at_last_run,
        EXISTS (
            SELECT FROM loan_data.alerts WHERE dedup_key = 'retraining_given_up:' || b.breach_id) AS given_up
    FROM loan_data.breaches b
    LEFT JOIN loan_data.training_runs r ON r.breach_id = b.breach_id
    LEFT JOIN LATERAL (
        SELECT p.passed, EXISTS (
            SELECT FROM loan_data.deployment_intervals i
            WHERE i.slot = $1 AND i.pinned AND i.live_from <= p.evaluated_at
                AND (i.live_to IS NULL OR p.evaluated_at < i.live_to)) AS pinned
        FROM loan_data.model_performance p
        WHERE p.version = r.version AND p.kind = 'gate' AND p.role = 'challenger'
        ORDER BY p.evaluated_at DESC
        LIMIT 1
    ) verdict ON true
    WHERE b.version = $2 AND b.closed_at IS NULL
    GROUP BY b.breach_id
"""


async def count_labels(connection: Connection, as_of: datetime | None) -> int:
    """Labelled, mature loans; none before the clock has started."""
    n: int = await connection.fetchval(COUNT_LABELS, as_of)
    return n


async def fetch_situation(connection: Connection, *, slot: str, min_outcomes: int) -> Situation:
    if await _run_is_open(connection):
        return Situation(labels=0, run_is_open=True)
    live = await connection.fetchrow(SELECT_LIVE, slot)
    return Situation(
        labels=await count_labels(connection, await fetch_as_of(connection, min_outcomes)),
        awaits_verdict=await _fetch_unjudged(connection),
        live_version=live["version"] if live else None,
        pinned=live["pinned"] if live else False,
        last_run=await _fetch_last_run(connection),
        breach=await _fetch_breach(connection, slot, live["version"]) if live else None,
    )


async def _run_is_open(connection: Connection) -> bool:
    is_open: bool = await connection.fetchval(IS_RUN_OPEN)
    return is_open


async def _fetch_unjudged(connection: Connection) -> str | None:
    """The newest version, if it has no verdict and no operator has made it live without one."""
    version: str | None = await connection.fetchval(SELECT_UNJUDGED)
    return version


async def _fetch_last_run(connection: Connection) -> LastRun | None:
    row = await connection.fetchrow(SELECT_LAST_RUN)
    if row is None:
        return None
    return LastRun(
        labels_total=row["labels_total"], succeeded=row["state"] == "succeeded", finished_at=row["finished_at"]
    )


async def _fetch_breach(connection: Connection, slot: str, version: str) -> OpenBreach | None:
    """A version's newest verdict counts, and none that was given while a rollback pinned what is live."""
    row = await connection.fetchrow(SELECT_BREACH, slot, version)
    return OpenBreach(**dict(row)) if row else None
