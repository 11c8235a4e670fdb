"""Versions that may yet become live, each with its newest verdict."""

from loanloop_common.postgres import Connection

from loanloop_evaluator.domain.deployment import Candidate

SELECT_CANDIDATES = """
    SELECT m.version, m.number, p.passed, p.judged_seq
    FROM loan_data.model_metadata m
    LEFT JOIN LATERAL (
        SELECT passed, judged_seq FROM loan_data.model_performance
        WHERE kind = 'gate' AND role = 'challenger' AND version = m.version
        ORDER BY evaluated_at DESC
        LIMIT 1
    ) p ON true
    WHERE m.portfolio = $1 AND m.number > coalesce((
        SELECT max(x.number) FROM loan_data.deployments d
        JOIN loan_data.model_metadata x ON x.version = d.version
        WHERE d.slot = $1), 0)
"""


async def fetch_candidates(connection: Connection, slot: str) -> list[Candidate]:
    """Those newer than any that has been live."""
    rows = await connection.fetch(SELECT_CANDIDATES, slot)
    return [Candidate(*row) for row in rows]
