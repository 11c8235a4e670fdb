"""The books of ingest: received = stored + rejected + duplicates, on each topic, as one query."""

from dataclasses import dataclass

from loanloop_common.events import Topic
from loanloop_common.postgres import Connection, Pool

# Every message lies under one offset, so the span of the offsets seen says how many were received without
# counting what became of them. (A producer with transactions leaves offsets of its own between its messages.)
TOTALS = """
    WITH places AS (
        SELECT topic, kafka_partition, kafka_offset, 'stored' AS fate FROM loan_data.raw_data
        UNION ALL
        SELECT topic, kafka_partition, kafka_offset, 'rejected' FROM loan_data.rejected WHERE service = 'ingest'
        UNION ALL
        SELECT topic, kafka_partition, kafka_offset, 'duplicate' FROM loan_data.duplicates
    ),
    partitions AS (
        SELECT topic, kafka_partition,
               max(kafka_offset) - min(kafka_offset) + 1 AS received,
               count(*) FILTER (WHERE fate = 'stored') AS stored,
               count(*) FILTER (WHERE fate = 'rejected') AS rejected,
               count(*) FILTER (WHERE fate = 'duplicate') AS duplicates
        FROM places
        GROUP BY topic, kafka_partition
    )
    SELECT topic, sum(received)::bigint AS received, sum(stored)::bigint AS stored,
           sum(rejected)::bigint AS rejected, sum(duplicates)::bigint AS duplicates
    FROM partitions
    GROUP BY topic
"""

WAITING_OUTCOMES = "SELECT count(*) FROM loan_data.processed_data WHERE features IS NULL"


@dataclass(frozen=True)
class Totals:
    """What became of the messages of one topic."""

    received: int = 0
    stored: int = 0
    rejected: int = 0
    duplicates: int = 0

    @property
    def add_up(self) -> bool:
        return self.received == self.stored + self.rejected + self.duplicates


async def fetch_totals(connection: Connection | Pool) -> dict[Topic, Totals]:
    """The totals of both loan topics; zeros where nothing has come."""
    rows = await connection.fetch(TOTALS)
    found = {topic: Totals(*counts) for topic, *counts in rows}
    return {topic: found.get(topic, Totals()) for topic in (Topic.LOAN_RECEIVED, Topic.LOAN_OUTCOME)}


async def fetch_waiting_outcomes(connection: Connection | Pool) -> int:
    """How many outcomes wait for their loan."""
    waiting: int = await connection.fetchval(WAITING_OUTCOMES)
    return waiting
