"""The loans that a gate judges on, the same for every model that it looks at."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loanloop_common.postgres import Connection

ROWS_AT_ONCE = 4096

SELECT_LOANS = """
    SELECT features::text AS features, defaulted, occurred_at FROM loan_data.processed_data
    WHERE counts_at <= $1 AND occurred_at > $2
    ORDER BY occurred_at, loan_id
"""

COUNT_LOANS = """
    SELECT count(*) FROM (
        SELECT FROM loan_data.processed_data WHERE counts_at <= $1 AND occurred_at > $2 LIMIT $3
    ) enough
"""


@dataclass(frozen=True, slots=True)
class GateWindow:
    """The window as of one moment: whatever is stored meanwhile, every pass over it gives the same loans."""

    connection: Connection
    as_of: datetime
    after: datetime

    async def loans(self) -> AsyncIterator[Sequence[Any]]:
        """Batches of (features as JSON text, defaulted, occurred_at), in order of occurrence."""
        cursor = await self.connection.cursor(SELECT_LOANS, self.as_of, self.after)
        while batch := await cursor.fetch(ROWS_AT_ONCE):
            yield batch


async def count_loans(connection: Connection, as_of: datetime, after: datetime, *, up_to: int) -> int:
    """How many loans the window has, counted no further than `up_to`."""
    n: int = await connection.fetchval(COUNT_LOANS, as_of, after, up_to)
    return n
