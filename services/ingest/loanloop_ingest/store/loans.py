"""Stores batches of loans and outcomes.

Every replica takes its locks in the same order: event keys by id, loans by id, counts by field.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord
from loanloop_common.dead_letters import Refusal, record_refusals, refusal_of
from loanloop_common.errors import EventConflict
from loanloop_common.postgres import Connection, Pool

from loanloop_ingest.domain.loan_changes import LoanChange, MissingCount, loan_changes, missing_counts
from loanloop_ingest.domain.messages import Incoming, Place
from loanloop_ingest.domain.verdicts import KnownEvent, Verdicts, firsts, sort_out

# now() is when a transaction began: readers that look from time to time reach back further than this (the evaluator's
# OVERLAP).
TRANSACTION_WITHIN_S = 60.0

# Which ones is told only where some were stored before.
CLAIM_KEYS = """
    WITH claimed AS (
        INSERT INTO loan_data.event_keys (event_id, payload_sha256)
        SELECT event_id, payload_sha256 FROM unnest($1::uuid[], $2::bytea[]) AS arrived (event_id, payload_sha256)
        ORDER BY event_id
        ON CONFLICT (event_id) DO NOTHING
        RETURNING event_id
    )
    SELECT CASE WHEN count(*) < cardinality($1::uuid[]) THEN coalesce(array_agg(event_id), '{}') END FROM claimed
"""

# A second statement: it sees what the winners of a race have committed meanwhile. A key outlives its raw_data.
SELECT_KNOWN = """
    SELECT keys.event_id, keys.payload_sha256, raw.topic, raw.kafka_partition, raw.kafka_offset
    FROM loan_data.event_keys AS keys
    LEFT JOIN loan_data.raw_data AS raw USING (event_id)
    WHERE keys.event_id = ANY ($1::uuid[])
"""

SELECT_REFUSED_BEFORE = """
    SELECT topic, kafka_partition, kafka_offset, payload_sha256, reason, message, field, rule
    FROM loan_data.rejected
    JOIN unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[])
        AS arrived (topic, kafka_partition, first_offset, last_offset) USING (topic, kafka_partition)
    WHERE service = 'ingest' AND kafka_offset BETWEEN first_offset AND last_offset
"""

CREATE_ARRIVED_LOANS = """
    CREATE TEMPORARY TABLE IF NOT EXISTS arrived_loans (
        loan_id text, event_id uuid, occurred_at timestamptz, features text, is_history boolean, matured_at timestamptz,
        outcome_event_id uuid, outcome_occurred_at timestamptz, defaulted boolean, known_at timestamptz
    ) ON COMMIT DELETE ROWS
"""

STORE_LOANS = """
    INSERT INTO loan_data.processed_data AS stored (
        loan_id, event_id, occurred_at, features, is_history, received_at, matured_at,
        outcome_event_id, outcome_occurred_at, defaulted, known_at, outcome_received_at, outcome_first_received_at
    )
    SELECT loan_id, event_id, occurred_at, features::jsonb, is_history,
           CASE WHEN event_id IS NOT NULL THEN now() END, matured_at,
           outcome_event_id, outcome_occurred_at, defaulted, known_at,
           CASE WHEN outcome_event_id IS NOT NULL THEN now() END,
           CASE WHEN outcome_event_id IS NOT NULL THEN now() END
    FROM arrived_loans
    ORDER BY loan_id COLLATE "C"
    ON CONFLICT (loan_id) DO UPDATE SET
        event_id = coalesce(stored.event_id, excluded.event_id),
        occurred_at = coalesce(stored.occurred_at, excluded.occurred_at),
        features = coalesce(stored.features, excluded.features),
        is_history = coalesce(stored.is_history, excluded.is_history),
        received_at = coalesce(stored.received_at, excluded.received_at),
        matured_at = coalesce(stored.matured_at, excluded.matured_at),
        outcome_first_received_at = coalesce(stored.outcome_first_received_at, excluded.outcome_first_received_at),
        (outcome_event_id, outcome_occurred_at, defaulted, known_at, outcome_received_at) = (
            SELECT event_id, occurred_at, defaulted, known_at, received_at
            FROM (VALUES
                (stored.outcome_event_id, stored.outcome_occurred_at, stored.defaulted, stored.known_at,
                 stored.outcome_received_at),
                (excluded.outcome_event_id, excluded.outcome_occurred_at, excluded.defaulted, excluded.known_at,
                 excluded.outcome_received_at)
            ) AS correction (event_id, occurred_at, defaulted, known_at, received_at)
            ORDER BY occurred_at DESC NULLS LAST, event_id DESC NULLS LAST
            LIMIT 1
        )
    WHERE stored.event_id IS NULL OR excluded.outcome_event_id IS NOT NULL
"""

STORE_DUPLICATES = """
    INSERT INTO loan_data.duplicates (topic, kafka_partition, kafka_offset, event_id)
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::uuid[])
    ON CONFLICT (topic, kafka_partition, kafka_offset, event_id) DO NOTHING
"""

COUNT_MISSING = """
    INSERT INTO loan_data.data_quality AS counted (day, field, n_loans, n_missing)
    SELECT (now() AT TIME ZONE 'UTC')::date, field, n_loans, n_missing
    FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS arrived (field, n_loans, n_missing)
    ORDER BY field COLLATE "C"
    ON CONFLICT (day, field) DO UPDATE SET
        n_loans = counted.n_loans + excluded.n_loans,
        n_missing = counted.n_missing + excluded.n_missing
"""


@dataclass(frozen=True)
class Arrived:
    """A message and what it turned out to be: an event, or the refusal of it."""

    record: ConsumerRecord
    read: Incoming | Refusal


class LoanStore:
    """Where the messages of both loan topics end. `fields` are the portfolio's features, in order."""

    def __init__(self, pool: Pool, fields: Sequence[str]) -> None:
        self._pool = pool
        self._fields = fields

    async def store(self, arrived: Sequence[Arrived]) -> list[Refusal]:
        """Store what is new and count what is not, in one transaction; returns every refusal, to be published.

        Idempotent on place and event_id: a message delivered again changes nothing and meets the same fate. Raises
        one of REFUSED_BY_DATABASE, and stores nothing, when the database refuses any part.
        """
        async with asyncio.timeout(TRANSACTION_WITHIN_S):
            return await self._store(arrived)

    async def _store(self, arrived: Sequence[Arrived]) -> list[Refusal]:
        events = [each.read for each in arrived if isinstance(each.read, Incoming)]
        async with self._pool.acquire() as connection, connection.transaction():
            refused_before = await _fetch_refused_before(connection, events)
            acceptable = [event for event in events if event.place not in refused_before]
            verdicts = await _store_events(connection, acceptable)
            refusals = [each.read for each in arrived if isinstance(each.read, Refusal)]
            if refused_before or verdicts.conflicts:
                records = {_place_of(each.record): each.record for each in arrived}
                refusals += [Refusal(records[place], **why) for place, why in refused_before.items()]
                refusals += [_conflict(records[event.place], event) for event in verdicts.conflicts]
            if refusals:
                await record_refusals(connection, service="ingest", refusals=refusals)
            if counts := missing_counts(self._fields, verdicts.fresh):
                await _count_missing(connection, counts)
        return refusals


def _place_of(record: ConsumerRecord) -> Place:
    return Place(record.topic, record.partition, record.offset)


def _conflict(record: ConsumerRecord, event: Incoming) -> Refusal:
    return refusal_of(record, EventConflict(str(event.event_id)))


async def _fetch_refused_before(connection: Connection, events: Sequence[Incoming]) -> dict[Place, dict[str, Any]]:
    """Reason, message, field and rule of places refused before: a date in the future then may be past by now.

    Other bytes at the same place are of another Kafka, or of a topic that was made anew.
    """
    if not events:
        return {}
    payloads = {event.place: event.payload for event in events}
    rows = await connection.fetch(SELECT_REFUSED_BEFORE, *zip(*_ranges(payloads), strict=True))
    names = ("reason", "message", "field", "rule")
    return {
        place: {name: row[name] for name in names}
        for row in rows
        if (payload := payloads.get(place := Place(*row[:3]))) is not None
        and hashlib.sha256(payload).digest() == row["payload_sha256"]
    }


def _ranges(places: Iterable[Place]) -> list[tuple[str, int, int, int]]:
    """Topic, partition, first and last offset: a batch has few partitions and many places."""
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for topic, partition, offset in places:
        offsets[topic, partition].append(offset)
    return [(*where, min(some), max(some)) for where, some in offsets.items()]


async def _store_events(connection: Connection, events: Sequence[Incoming]) -> Verdicts:
    first_by_id = firsts(events)
    claimed = await _claim(connection, first_by_id)
    known = await _fetch_known(connection, [event_id for event_id in first_by_id if event_id not in claimed])
    verdicts = sort_out(events, claimed, known)
    if verdicts.fresh:
        await _store_raw(connection, verdicts.fresh)
        await _store_loans(connection, loan_changes(verdicts.fresh))
    if verdicts.duplicates:
        await _store_duplicates(connection, verdicts.duplicates)
    return verdicts


async def _claim(connection: Connection, arrived: dict[UUID, Incoming]) -> dict[UUID, Incoming]:
    if not arrived:
        return {}
    hashes = [event.payload_sha256 for event in arrived.values()]
    claimed: list[UUID] | None = await connection.fetchval(CLAIM_KEYS, list(arrived), hashes)
    return arrived if claimed is None else {event_id: arrived[event_id] for event_id in claimed}


async def _fetch_known(connection: Connection, event_ids: Sequence[UUID]) -> dict[UUID, KnownEvent]:
    rows = await connection.fetch(SELECT_KNOWN, event_ids) if event_ids else []
    return {
        event_id: KnownEvent(payload_sha256, Place(*place) if place[0] is not None else None)
        for event_id, payload_sha256, *place in rows
    }


async def _store_raw(connection: Connection, fresh: Sequence[Incoming]) -> None:
    await connection.copy_records_to_table(
        "raw_data",
        schema_name="loan_data",
        columns=["event_id", "topic", "kafka_partition", "kafka_offset", "loan_id", "occurred_at", "payload"],
        records=[(e.event_id, *e.place, e.loan_id, e.occurred_at, e.payload) for e in fresh],
    )


async def _store_loans(connection: Connection, changes: Sequence[LoanChange]) -> None:
    await connection.execute(CREATE_ARRIVED_LOANS)
    await connection.copy_records_to_table("arrived_loans", records=[_row_of(change) for change in changes])
    await connection.execute(STORE_LOANS)


def _row_of(change: LoanChange) -> tuple[object, ...]:
    loan, outcome = change.loan, change.outcome
    return (
        change.loan_id,
        change.loan_event_id,
        *((loan.occurred_at, loan.features, loan.is_history, loan.matured_at) if loan else (None,) * 4),
        change.outcome_event_id,
        *((outcome.occurred_at, outcome.defaulted, outcome.known_at) if outcome else (None,) * 3),
    )


async def _store_duplicates(connection: Connection, duplicates: Sequence[Incoming]) -> None:
    rows = sorted((*event.place, event.event_id) for event in duplicates)
    await connection.execute(STORE_DUPLICATES, *zip(*rows, strict=True))


async def _count_missing(connection: Connection, counts: Sequence[MissingCount]) -> None:
    await connection.execute(COUNT_MISSING, *zip(*counts, strict=True))
