"""What the metrics say of the database. Reads only, on a replica where there is one, and nothing that grows with the
loans: whole tables are not counted.
"""

from collections.abc import Sequence
from typing import Any

from asyncpg import Record
from loanloop_common.event_time import fetch_as_of
from loanloop_common.postgres import Connection, Pool, create_pool

from loanloop_evaluator.domain.facts import Beat, Breach, ClosedDay, Facts, LiveModel, Rejections, Table
from loanloop_evaluator.store.candidates import fetch_candidates
from loanloop_evaluator.store.reign import fetch_reign

SELECT_LATEST_DAY = """
    SELECT day, tp, fp, tn, fn, metrics, value, lower, upper FROM loan_data.model_performance
    WHERE kind = 'daily' AND version = $1
    ORDER BY day DESC
    LIMIT 1
"""

SELECT_OPEN_BREACH = """
    SELECT (SELECT count(*) FROM loan_data.training_runs r WHERE r.breach_id = b.breach_id) AS attempts,
        EXISTS (
            SELECT FROM loan_data.alerts WHERE dedup_key = 'retraining_given_up:' || b.breach_id) AS given_up
    FROM loan_data.breaches b
    WHERE b.version = $1 AND b.closed_at IS NULL
"""

COUNT_ALERTS = "SELECT kind, severity, count(*) FROM loan_data.alerts GROUP BY kind, severity"

COUNT_DEPLOYMENTS = "SELECT kind, count(*) FROM loan_data.deployments WHERE slot = $1 GROUP BY kind"

COUNT_RUNS = "SELECT state, count(*) FROM loan_data.training_runs GROUP BY state"

SELECT_QUALITY = """
    SELECT field, n_loans, n_missing FROM loan_data.data_quality
    WHERE day = (now() AT TIME ZONE 'UTC')::date
"""

COUNT_REJECTED = """
    SELECT reason, field, rule, count(*) AS n FROM loan_data.rejected
    WHERE rejected_at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
    GROUP BY reason, field, rule
    ORDER BY n DESC, reason, field, rule
"""

# Estimates that PostgreSQL keeps in its catalogue, so that a replica has them too.
SELECT_TABLES = """
    SELECT coalesce(parent.relname, own.relname)::text AS name, sum(greatest(own.reltuples, 0))::float8 AS n_rows,
        sum(pg_total_relation_size(own.oid))::float8 AS n_bytes
    FROM pg_class own
    LEFT JOIN pg_inherits ON pg_inherits.inhrelid = own.oid
    LEFT JOIN pg_class parent ON parent.oid = pg_inherits.inhparent
    WHERE own.relnamespace = 'loan_data'::regnamespace AND own.relkind = 'r'
    GROUP BY 1
"""

SELECT_BEATS = """
    SELECT service, instance_id, extract(epoch FROM clock_timestamp() - seen_at)::float8 AS age_s
    FROM loan_data.service_instances
    WHERE seen_at > now() - interval '1 hour'
"""


class FactStore:
    """Reads by `read_only_dsn` where there is one, else by the service's own pool."""

    def __init__(self, pool: Pool, *, read_only_dsn: str | None, slot: str, min_outcomes: int) -> None:
        self._pool = pool
        self._dsn = read_only_dsn
        self._replica: Pool | None = None
        self._slot = slot
        self._min_outcomes = min_outcomes

    async def fetch_facts(self) -> Facts:
        """All at one moment. Raises Unavailable where the replica does not answer."""
        pool = await self._reader()
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            return Facts(**await self._of_loop(connection), **await _of_data(connection))

    async def close(self) -> None:
        if self._replica:
            await self._replica.close()

    async def _reader(self) -> Pool:
        """The replica may be away at the start, as at any other time."""
        if self._dsn is None:
            return self._pool
        if self._replica is None:
            self._replica = await create_pool(self._dsn, application_name="evaluator-facts", max_size=1)
        return self._replica

    async def _of_loop(self, connection: Connection) -> dict[str, Any]:
        live = await fetch_reign(connection, self._slot)
        version = live and live["version"]
        day = await connection.fetchrow(SELECT_LATEST_DAY, version)
        breach = await connection.fetchrow(SELECT_OPEN_BREACH, version)
        candidates = await fetch_candidates(connection, self._slot)
        return {
            "event_time": await fetch_as_of(connection, self._min_outcomes),
            "live": live and LiveModel(*live),
            "day": day and ClosedDay(*day),
            "breach": breach and Breach(*breach),
            "n_waiting": sum(candidate.passed is None for candidate in candidates),
            "alerts": {(kind, severity): n for kind, severity, n in await connection.fetch(COUNT_ALERTS)},
            "deployments": _by_first(await connection.fetch(COUNT_DEPLOYMENTS, self._slot)),
            "training_runs": _by_first(await connection.fetch(COUNT_RUNS)),
        }


def _by_first(counted: Sequence[Record]) -> dict[str, int]:
    return {row[0]: row[1] for row in counted}


async def _of_data(connection: Connection) -> dict[str, Any]:
    quality = await connection.fetch(SELECT_QUALITY)
    return {
        "n_loans_today": max((row["n_loans"] for row in quality), default=0),
        "missing_today": {row["field"]: row["n_missing"] for row in quality},
        "rejected_today": [Rejections(*row) for row in await connection.fetch(COUNT_REJECTED)],
        "tables": [Table(*row) for row in await connection.fetch(SELECT_TABLES)],
        "beats": [Beat(*row) for row in await connection.fetch(SELECT_BEATS)],
    }
