"""Stores batches of loans and outcomes.

Every replica takes its locks in the same order: event keys by id, new loans by id, changed loans by id, counts by
field.
"""

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord
from asyncpg.exceptions import UniqueViolationError
from loanloop_common.dead_letters import Refusal, Refused, record_refusals, refusal_of
from loanloop_common.errors import EventConflict
from loanloop_common.postgres import Connection, Pool
from loanloop_common.sampled_lines import ids_of
from loanloop_common.telemetry import count
from msgspec import Struct

from loanloop_ingest.domain.loan_changes import loan_changes, missing_counts
from loanloop_ingest.domain.messages import Incoming, Place
from loanloop_ingest.domain.verdicts import Verdicts, firsts, sort_out
from loanloop_ingest.store.event_rows import (
    Message,
    fetch_known,
    fetch_settled,
    store_duplicates,
    store_raw,
    take_keys,
)
from loanloop_ingest.store.loan_rows import count_missing, store_loans

# now() is when a transaction began: readers that look from time to time reach back further than this (the evaluator's
# OVERLAP).
TRANSACTION_WITHIN_S = 60.0

# Each that fails for another replica's sake sees what that one has stored; the consumer tries again after the last.
_TRANSACTIONS = 5

SELECT_REFUSED_BEFORE = """
    SELECT topic, kafka_partition, kafka_offset, payload_sha256, reason, message, field, rule
    FROM loan_data.rejected
    JOIN unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[])
        AS arrived (topic, kafka_partition, first_offset, last_offset) USING (topic, kafka_partition)
    WHERE service = 'ingest' AND kafka_offset BETWEEN first_offset AND last_offset
"""


class Arrived(Struct, frozen=True, gc=False):
    """A message and what it turned out to be: an event, or the refusal of it."""

    record: ConsumerRecord
    read: Incoming | Refusal


class LoanStore:
    """Where the messages of both loan topics end. `fields` are the portfolio's features, in order."""

    def __init__(self, pool: Pool, fields: Sequence[str]) -> None:
        self._pool = pool
        self._fields = fields

    async def store(self, arrived: Sequence[Arrived]) -> list[Refusal]:
        """Store what is new and count what is not, in one transaction; returns the refusals, to be published.

        Idempotent on place and event_id: a message delivered again changes nothing and meets the same fate. Raises
        one of REFUSED_BY_DATABASE, and stores nothing, when the database refuses any part.
        """
        for _ in range(_TRANSACTIONS - 1):
            with suppress(UniqueViolationError):
                return await self._store_within(arrived)
        return await self._store_within(arrived)

    async def _store_within(self, arrived: Sequence[Arrived]) -> list[Refusal]:
        async with asyncio.timeout(TRANSACTION_WITHIN_S):
            return await self._store(arrived)

    async def _store(self, arrived: Sequence[Arrived]) -> list[Refusal]:
        events = [each.read for each in arrived if isinstance(each.read, Incoming)]
        async with self._pool.acquire() as connection, connection.transaction():
            refused_before = await _fetch_refused_before(connection, events)
            if refused_before:
                events = [event for event in events if event.place not in refused_before]
            verdicts = await _store_events(connection, events)
            unfit = [each.read for each in arrived if isinstance(each.read, Refusal)]
            refusals = await _without_settled(connection, unfit) if unfit else []
            if refused_before or verdicts.conflicts:
                records = {_place_of(each.record): each.record for each in arrived}
                refusals += [Refusal(records[place], **why) for place, why in refused_before.items()]
                refusals += [_conflict(records[event.place], event) for event in verdicts.conflicts]
            if refusals:
                await record_refusals(connection, service="ingest", refusals=refusals)
            if counts := missing_counts(self._fields, verdicts.fresh):
                await count_missing(connection, counts)
        _count(verdicts)
        return refusals


def _count(verdicts: Verdicts) -> None:
    for topic, n in Counter(event.place.topic for event in verdicts.fresh).items():
        count("loanloop_events_stored_total", n, topic=topic)
    for topic, n in Counter(event.place.topic for event in verdicts.duplicates).items():
        count("loanloop_event_duplicates_total", n, topic=topic)


def _place_of(record: Refused) -> Place:
    return Place(record.topic, record.partition, record.offset)


def _conflict(record: ConsumerRecord, event: Incoming) -> Refusal:
    return refusal_of(record, EventConflict(str(event.event_id)))


async def _fetch_refused_before(connection: Connection, events: Sequence[Incoming]) -> dict[Place, dict[str, Any]]:
    """Reason, message, field and rule of places refused before: a date in the future then may be past by now.

    Other bytes at the same place are of another Kafka, or of a topic that was made anew.
    """
    if not events:
        return {}
    ranges = _ranges(event.place for event in events)
    if not (rows := await connection.fetch(SELECT_REFUSED_BEFORE, *zip(*ranges, strict=True))):
        return {}
    payloads = {event.place: event.payload for event in events}
    names = ("reason", "message", "field", "rule")
    return {
        place: {name: row[name] for name in names}
        for row in rows
        if (payload := payloads.get(place := Place(*row[:3]))) is not None
        and hashlib.sha256(payload).digest() == row["payload_sha256"]
    }


async def _without_settled(connection: Connection, refusals: Sequence[Refusal]) -> list[Refusal]:
    """Without those of messages that were stored, or counted, before ingest died and started again with a portfolio
    that allows less. What was stored had an id.
    """
    messages = {
        _place_of(refusal.record): Message(UUID(str(event_id)), hashlib.sha256(refusal.record.value or b"").digest())
        for refusal in refusals
        if (event_id := ids_of(refusal.record).get("event_id"))
    }
    settled = await fetch_settled(connection, messages)
    return [refusal for refusal in refusals if _place_of(refusal.record) not in settled]


def _ranges(places: Iterable[Place]) -> list[tuple[str, int, int, int]]:
    """Topic, partition, first and last offset: a batch has few partitions and many places."""
    offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
    for topic, partition, offset in places:
        offsets[topic, partition].append(offset)
    return [(*where, min(some), max(some)) for where, some in offsets.items()]


async def _store_events(connection: Connection, events: Sequence[Incoming]) -> Verdicts:
    first_by_id = firsts(events)
    known = await fetch_known(connection, first_by_id)
    claimed = {i: event for i, event in first_by_id.items() if i not in known} if known else first_by_id
    verdicts = sort_out(events, claimed, known)
    if verdicts.fresh:
        await take_keys(connection, verdicts.fresh)
        await store_raw(connection, verdicts.fresh)
        await store_loans(connection, loan_changes(verdicts.fresh))
    if verdicts.duplicates:
        await store_duplicates(connection, verdicts.duplicates)
    return verdicts
