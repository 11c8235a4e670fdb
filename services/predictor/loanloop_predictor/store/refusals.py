"""The dead letters of what the predictor itself can't decide; ingest writes those of what is no valid loan."""

from collections.abc import Sequence

from loanloop_common.dead_letters import Refusal, record_refusals
from loanloop_common.postgres import Pool

from loanloop_predictor.store.availability import connection_of


class RefusalStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record(self, refusals: Sequence[Refusal]) -> None:
        """Each once, however often it is handed in. Raises Unavailable."""
        async with connection_of(self._pool) as connection, connection.transaction():
            await record_refusals(connection, service="predictor", refusals=refusals)
