"""The event-time clock, read from the labels; docs/decisions/0025 says why."""

from datetime import datetime

from loanloop_common.postgres import Connection

SELECT_AS_OF = """
    SELECT known_at FROM loan_data.processed_data
    WHERE counts_at IS NOT NULL
    ORDER BY known_at DESC
    OFFSET $1 LIMIT 1
"""


async def fetch_as_of(connection: Connection, min_outcomes: int) -> datetime | None:
    """The `min_outcomes`-th newest date on which an outcome became known; None while there are fewer."""
    as_of: datetime | None = await connection.fetchval(
        SELECT_AS_OF,
        min_outcomes - 1,
    )
    return as_of
