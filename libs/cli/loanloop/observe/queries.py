"""All SQL that looks at an installation. Reads only; counters are queries."""

from datetime import datetime
from typing import Any

from loanloop_common.event_time import fetch_as_of
from loanloop_common.postgres import Connection

from loanloop.observe.loan_counts import LoanCounts
from loanloop.observe.snapshot import (
    Alert,
    Breach,
    Day,
    Decision,
    Deployment,
    Gate,
    Instance,
    ModelVersion,
    Training,
)


async def fetch_instances(connection: Connection) -> tuple[Instance, ...]:
    """Instances seen in the last hour: an older row is of a process that is long gone."""
    rows = await connection.fetch(
        """
        SELECT service, instance_id, url, version, deployment_seq, detail,
               extract(epoch FROM clock_timestamp() - seen_at)::float8 AS age_s
        FROM loan_data.service_instances
        WHERE seen_at > now() - interval '1 hour'
        ORDER BY service, started_at
        """
    )
    return tuple(Instance(**row) for row in rows)


async def fetch_loan_counts(connection: Connection, *, received: int | None, as_of: datetime | None) -> LoanCounts:
    (row,) = await connection.fetch(
        """
        SELECT
            (SELECT count(*) FROM loan_data.raw_data WHERE topic = 'loan.received') AS stored,
            (SELECT count(*) FROM loan_data.rejected
             WHERE topic = 'loan.received' AND service = 'ingest') AS rejected,
            (SELECT count(*) FROM loan_data.duplicates WHERE topic = 'loan.received') AS duplicates,
            (SELECT coalesce(sum(n), 0)::bigint FROM (
                 SELECT max((details ->> 'to_offset')::bigint) - (details ->> 'from_offset')::bigint AS n
                 FROM loan_data.alerts
                 WHERE kind = 'records_removed' AND service = 'ingest' AND details ->> 'topic' = 'loan.received'
                   AND details ->> 'from_offset' IS NOT NULL
                 GROUP BY details ->> 'partition', details ->> 'from_offset'
             ) gaps) AS removed,
            n_loans,
            history,
            (SELECT count(*) FROM loan_data.predictions) AS scored,
            (SELECT count(*) FROM loan_data.decision_keys) AS decided,
            (SELECT count(*) FROM loan_data.processed_data WHERE counts_at IS NOT NULL) AS labelled,
            (SELECT count(*) FROM loan_data.processed_data WHERE counts_at <= $1) AS mature,
            (SELECT count(*) FROM loan_data.processed_data WHERE features IS NULL) AS waiting_outcomes
        FROM (
            SELECT count(is_history) AS n_loans, count(*) FILTER (WHERE is_history) AS history
            FROM loan_data.processed_data
        ) of_loans
        """,
        as_of,
    )
    return LoanCounts(received=received, **row)


async def fetch_rejected_by_reason(connection: Connection) -> dict[str, int]:
    rows = await connection.fetch(
        "SELECT reason, count(*) AS n FROM loan_data.rejected WHERE service = 'ingest' GROUP BY reason ORDER BY reason"
    )
    return {row["reason"]: row["n"] for row in rows}


async def fetch_clocks(connection: Connection, min_outcomes: int) -> dict[str, Any]:
    """`as_of`, the event-time clock of the labels, and `stream_day`, when the loan decided last was applied for."""
    stream_day = await connection.fetchval(
        "SELECT occurred_at FROM loan_data.predictions ORDER BY decision_id DESC LIMIT 1"
    )
    return {"as_of": await fetch_as_of(connection, min_outcomes), "stream_day": stream_day}


async def fetch_versions(connection: Connection) -> tuple[ModelVersion, ...]:
    """Every version with its newest verdict, and the champion's figures on the same loans."""
    rows = await connection.fetch(
        """
        SELECT m.version, r.trigger, m.train_from, m.train_to, m.n_rows, m.created_at,
               c.passed, c.reason, c.f1, (c.metrics ->> 'roc_auc')::float8 AS roc_auc, c.n_loans,
               c.window_from, c.window_to, c.opponent,
               o.f1 AS opponent_f1, (o.metrics ->> 'roc_auc')::float8 AS opponent_roc_auc
        FROM loan_data.model_metadata m
        JOIN loan_data.training_runs r USING (run_id)
        LEFT JOIN LATERAL (
            SELECT * FROM loan_data.model_performance p
            WHERE p.kind = 'gate' AND p.role = 'challenger' AND p.version = m.version
            ORDER BY p.evaluated_at DESC LIMIT 1
        ) c ON true
        LEFT JOIN loan_data.model_performance o
               ON o.kind = 'gate' AND o.role = 'champion' AND o.version = c.opponent AND o.opponent = m.version
        ORDER BY m.number
        """
    )
    return tuple(_version(dict(row)) for row in rows)


def _version(row: dict[str, Any]) -> ModelVersion:
    of_version = {
        name: row.pop(name) for name in ("version", "trigger", "train_from", "train_to", "n_rows", "created_at")
    }
    return ModelVersion(**of_version, gate=Gate(**row) if row["passed"] is not None else None)


async def fetch_deployments(connection: Connection) -> tuple[Deployment, ...]:
    rows = await connection.fetch(
        """
        SELECT deployment_seq, version, kind, pinned, previous, actor, reason,
               live_from, live_to, live_from_event_time, live_to_event_time, login
        FROM loan_data.deployment_intervals
        ORDER BY deployment_seq
        """
    )
    return tuple(Deployment(**row) for row in rows)


async def fetch_training(connection: Connection) -> Training | None:
    row = await connection.fetchrow(
        """
        SELECT run_id::text, trigger, attempt, state, phase, progress, n_rows, n_unlabelled, window_from, window_to,
               crashes, error, version, created_at, started_at, finished_at
        FROM loan_data.training_runs
        ORDER BY created_at DESC LIMIT 1
        """
    )
    return Training(**row) if row else None


async def fetch_days(connection: Connection) -> tuple[Day, ...]:
    """One row a day: of the version that was deployed last, where two have figures for the same day."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (p.day) p.day, p.version, p.value, p.lower, p.upper,
               (p.metrics -> 'window' ->> 'f1')::float8 AS f1,
               coalesce((p.metrics -> 'window' ->> 'n_loans')::bigint, p.n_loans) AS n_loans
        FROM loan_data.model_performance p
        JOIN loan_data.model_metadata m ON m.version = p.version
        WHERE p.kind = 'daily'
        ORDER BY p.day, (p.value IS NOT NULL) DESC, m.number DESC
        """
    )
    return tuple(Day(**row) for row in rows)


async def fetch_breaches(connection: Connection) -> tuple[Breach, ...]:
    rows = await connection.fetch(
        """
        SELECT breach_id, version, opened_on, opened_at, value, upper, closed_on, closed_by, relapses
        FROM loan_data.breaches
        ORDER BY breach_id
        """
    )
    return tuple(Breach(**row) for row in rows)


async def fetch_alerts(connection: Connection, *, newest: int = 20) -> tuple[Alert, ...]:
    rows = await connection.fetch(
        """
        SELECT service, kind, severity, message, raised_at
        FROM loan_data.alerts
        ORDER BY raised_at DESC LIMIT $1
        """,
        newest,
    )
    return tuple(Alert(**row) for row in rows)


async def fetch_newest_decisions(connection: Connection, *, newest: int = 12) -> tuple[Decision, ...]:
    rows = await connection.fetch(
        """
        SELECT loan_id, occurred_at, probability, threshold, decision, version, channel, decided_at
        FROM loan_data.predictions
        ORDER BY decision_id DESC LIMIT $1
        """,
        newest,
    )
    return tuple(Decision(**row) for row in rows)
