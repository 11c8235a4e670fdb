"""The run under way, and runs that have just ended, as the metrics tell of them."""

from typing import Any, NamedTuple
from uuid import UUID

from loanloop_common.postgres import Pool

SELECT_OPEN_RUN = """
    SELECT phase, progress, extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS heartbeat_age_s
    FROM loan_data.training_runs
    WHERE state IN ('queued', 'running')
"""

SELECT_ENDED_RUNS = """
    SELECT run_id, state, extract(epoch FROM finished_at - created_at)::float8 AS took_s
    FROM loan_data.training_runs
    WHERE finished_at > now() - interval '15 minutes'
"""


class OpenRun(NamedTuple):
    """`heartbeat_age_s` is None while nobody has begun it."""

    phase: str | None
    progress: dict[str, Any]
    heartbeat_age_s: float | None


class EndedRun(NamedTuple):
    run_id: UUID
    state: str
    took_s: float


class ProgressStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def fetch_open(self) -> OpenRun | None:
        row = await self._pool.fetchrow(SELECT_OPEN_RUN)
        return OpenRun(*row) if row else None

    async def fetch_ended(self) -> list[EndedRun]:
        """Of the last quarter of an hour."""
        return [EndedRun(*row) for row in await self._pool.fetch(SELECT_ENDED_RUNS)]
