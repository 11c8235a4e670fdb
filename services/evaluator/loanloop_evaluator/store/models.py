"""What `loanloop models` shows: every version with its verdict and when it was live."""

from datetime import datetime
from typing import Any, NamedTuple

from loanloop_common.postgres import Connection

SELECT_VERSION_FACTS = """
    SELECT m.version, m.number, m.train_from, m.train_to, m.n_rows, m.created_at,
           g.opponent, g.passed, g.reason, g.n_loans, g.metrics, g.value, g.lower, g.upper,
           coalesce(d.live, '[]'::jsonb) AS live, m.manifest
    FROM loan_data.model_metadata m
    LEFT JOIN LATERAL (
        SELECT * FROM loan_data.model_performance
        WHERE kind = 'gate' AND role = 'challenger' AND version = m.version
        ORDER BY evaluated_at DESC
        LIMIT 1
    ) g ON true
    LEFT JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object(
            'deployment_seq', deployment_seq, 'kind', kind, 'pinned', pinned, 'actor', actor, 'login', login,
            'reason', reason, 'from', live_from, 'to', live_to,
            'from_event_time', live_from_event_time, 'to_event_time', live_to_event_time
        ) ORDER BY deployment_seq) AS live
        FROM loan_data.deployment_intervals
        WHERE slot = $1 AND version = m.version
    ) d ON true
    WHERE m.portfolio = $1
    ORDER BY m.number
"""


class VersionFacts(NamedTuple):
    """`live` are the periods in which it was live, oldest first: from and to, event time from and to, kind."""

    version: str
    number: int
    train_from: datetime
    train_to: datetime
    n_rows: int
    created_at: datetime
    opponent: str | None
    passed: bool | None
    reason: str | None
    n_loans: int | None
    metrics: dict[str, Any] | None
    value: float | None
    lower: float | None
    upper: float | None
    live: list[dict[str, Any]]
    manifest: dict[str, Any]


async def fetch_version_facts(connection: Connection, slot: str) -> list[VersionFacts]:
    rows = await connection.fetch(SELECT_VERSION_FACTS, slot)
    return [VersionFacts(*row) for row in rows]
