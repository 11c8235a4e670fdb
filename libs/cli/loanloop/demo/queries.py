"""The demo's own questions to the database: who was decided how often, how long a swap took, both models' figures."""

from collections.abc import Collection
from typing import Any

import asyncpg
from loanloop_common.postgres import Connection

from loanloop.demo.checks import Ledger

LEDGER = """
    WITH own AS (SELECT unnest($1::text[]) AS loan_id),
    loans AS (SELECT p.* FROM loan_data.processed_data p JOIN own USING (loan_id)),
    events AS (SELECT event_id FROM loans WHERE features IS NOT NULL),
    decisions AS (SELECT event_id FROM loan_data.predictions JOIN own USING (loan_id))
    SELECT
        (SELECT count(*) FROM events) AS stored,
        (SELECT count(*) FROM loans WHERE is_history) AS history,
        (SELECT count(*) FROM decisions JOIN events USING (event_id)) AS scored,
        (SELECT count(*) FROM loan_data.decision_keys JOIN events USING (event_id)) AS decided,
        (SELECT count(*) FROM loans WHERE counts_at IS NOT NULL) AS labelled,
        (SELECT count(*) FROM loans WHERE features IS NULL) AS waiting_outcomes,
        (SELECT count(*) FROM loans l
         WHERE l.features IS NOT NULL AND NOT l.is_history
           AND NOT EXISTS (SELECT FROM loan_data.decision_keys d WHERE d.event_id = l.event_id))
            AS loans_without_decision,
        (SELECT count(*) FROM decisions d
         WHERE NOT EXISTS (SELECT FROM loan_data.event_keys e WHERE e.event_id = d.event_id))
            AS decisions_without_loan,
        (SELECT count(*) FROM loans l JOIN loan_data.decision_keys d USING (event_id) WHERE l.is_history)
            AS history_decided,
        (SELECT count(*) - count(DISTINCT event_id) FROM decisions) AS loans_decided_twice,
        (SELECT count(*) FROM loans WHERE features IS NOT NULL AND defaulted IS NULL) AS loans_without_outcome,
        (SELECT count(*) FROM loan_data.raw_data WHERE topic = 'loan.received')
            - (SELECT count(*) FROM events)
            + (SELECT count(*) FROM loan_data.rejected WHERE topic = 'loan.received' AND service = 'ingest')
            + (SELECT count(*) FROM loan_data.duplicates WHERE topic = 'loan.received') AS others
"""


async def fetch_ledger(connection: Connection, own: Collection[str], *, scored_published: int) -> Ledger:
    """`own`: the ids of the loans that the demo sent."""
    (row,) = await connection.fetch(LEDGER, list(own))
    return Ledger(**row, scored_published=scored_published)


async def fetch_swap_s(connection: Connection, deployment_seq: int) -> float | None:
    """From the deployment's commit to the first decision under it."""
    seconds: float | None = await connection.fetchval(
        """
        SELECT extract(epoch FROM min(p.decided_at) - min(d.deployed_at))::float8
        FROM loan_data.deployments d
        JOIN loan_data.predictions p USING (deployment_seq)
        WHERE d.deployment_seq = $1
        """,
        deployment_seq,
    )
    return seconds


async def fetch_manifest(connection: Connection, version: str) -> dict[str, Any]:
    manifest: dict[str, Any] = await connection.fetchval(
        "SELECT manifest FROM loan_data.model_metadata WHERE version = $1", version
    )
    return manifest


async def fetch_decided_outcomes(connection: Connection, version: str) -> list[asyncpg.Record]:
    """The version's decisions whose outcome is known, in order of occurrence; `features` is JSON text."""
    rows: list[asyncpg.Record] = await connection.fetch(
        """
        SELECT l.features::text AS features, l.defaulted, l.occurred_at,
               p.probability, p.decision = 'decline' AS declined
        FROM loan_data.predictions p
        JOIN loan_data.processed_data l USING (event_id)
        WHERE p.version = $1 AND l.counts_at IS NOT NULL
        ORDER BY l.occurred_at
        """,
        version,
    )
    return rows


async def holds_loans(connection: Connection) -> bool:
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM loan_data.raw_data)"))
