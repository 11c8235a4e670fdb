"""What is live, and since when: the deployment by which it took over from another version."""

from asyncpg import Record
from loanloop_common.postgres import Connection

SELECT_REIGN = """
    WITH live AS (
        SELECT version, deployment_seq, kind, pinned FROM loan_data.deployments
        WHERE slot = $1 ORDER BY deployment_seq DESC LIMIT 1
    )
    SELECT live.version, live.deployment_seq, live.kind, live.pinned, first.deployed_at, first.as_of,
        extract(epoch FROM now() - first.deployed_at)::float8 AS age_s
    FROM live CROSS JOIN LATERAL (
        SELECT deployed_at, as_of FROM loan_data.deployments
        WHERE slot = $1 AND deployment_seq > coalesce((
            SELECT max(deployment_seq) FROM loan_data.deployments
            WHERE slot = $1 AND version <> live.version), 0)
        ORDER BY deployment_seq
        LIMIT 1
    ) first
"""


async def fetch_reign(connection: Connection, slot: str) -> Record | None:
    row: Record | None = await connection.fetchrow(SELECT_REIGN, slot)
    return row
