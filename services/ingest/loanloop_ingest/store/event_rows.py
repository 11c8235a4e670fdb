"""The rows of events: a key for each id, what arrived as it came, and what came again."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from loanloop_common.postgres import Connection

from loanloop_ingest.domain.messages import Incoming, Place
from loanloop_ingest.domain.verdicts import KnownEvent

SELECT_KNOWN = """
    SELECT event_id, payload_sha256, received_at, topic, kafka_partition, kafka_offset
    FROM loan_data.event_keys
    WHERE event_id = ANY ($1::uuid[])
"""

# Keys that ingest wrote before they held their place.
SELECT_PLACES = """
    SELECT event_id, topic, kafka_partition, kafka_offset
    FROM loan_data.raw_data
    JOIN unnest($1::uuid[], $2::timestamptz[]) AS without_place (event_id, received_at) USING (event_id, received_at)
"""

# By when its key was taken the row of an event is found (docs/decisions/0050).
SELECT_RAW = """
    SELECT topic, kafka_partition, kafka_offset, sha256(payload)
    FROM loan_data.raw_data
    WHERE event_id = ANY ($1::uuid[]) AND received_at = ANY ($2::timestamptz[])
"""

SELECT_DUPLICATES = """
    SELECT topic, kafka_partition, kafka_offset
    FROM loan_data.duplicates
    JOIN unnest($1::text[], $2::integer[], $3::bigint[], $4::uuid[])
        AS arrived (topic, kafka_partition, kafka_offset, event_id)
        USING (topic, kafka_partition, kafka_offset, event_id)
"""

STORE_DUPLICATES = """
    INSERT INTO loan_data.duplicates (topic, kafka_partition, kafka_offset, event_id)
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::uuid[])
    ON CONFLICT (topic, kafka_partition, kafka_offset, event_id) DO NOTHING
"""

_KEYS = ("event_id", "payload_sha256", "topic", "kafka_partition", "kafka_offset")
_RAW = ("event_id", "topic", "kafka_partition", "kafka_offset", "loan_id", "occurred_at", "payload")


class Message(NamedTuple):
    """What tells a message from another at its place."""

    event_id: UUID
    sha256: bytes


async def fetch_known(connection: Connection, event_ids: Collection[UUID]) -> dict[UUID, KnownEvent]:
    """Of the ids, those that are taken."""
    rows = await connection.fetch(SELECT_KNOWN, [*event_ids]) if event_ids else []
    places = {row[0]: Place(*row[3:]) for row in rows if row["topic"] is not None}
    if without := [row[0:3:2] for row in rows if row["topic"] is None]:
        found = await connection.fetch(SELECT_PLACES, *zip(*without, strict=True))
        places |= {event_id: Place(*place) for event_id, *place in found}
    return {row[0]: KnownEvent(row["payload_sha256"], places.get(row[0])) for row in rows}


async def fetch_settled(connection: Connection, messages: Mapping[Place, Message]) -> set[Place]:
    """Of the messages, those that are stored as they are, or counted as duplicates."""
    known = (
        await connection.fetch(SELECT_KNOWN, [message.event_id for message in messages.values()]) if messages else []
    )
    if not known:
        return set()
    raw = await connection.fetch(
        SELECT_RAW, [row["event_id"] for row in known], [*{row["received_at"] for row in known}]
    )
    stored = {(Place(*row[:3]), row[3]) for row in raw}
    places = [(*place, message.event_id) for place, message in messages.items()]
    duplicates = await connection.fetch(SELECT_DUPLICATES, *zip(*places, strict=True))
    return {place for place, message in messages.items() if (place, message.sha256) in stored} | {
        Place(*row) for row in duplicates
    }


async def take_keys(connection: Connection, events: Iterable[Incoming]) -> None:
    """Raises UniqueViolationError where another replica has taken one of the ids meanwhile.

    COPY, which writes many rows at once, has no ON CONFLICT.
    """
    in_order = sorted(events, key=attrgetter("event_id.int"))
    rows = [(e.event_id, e.payload_sha256, *e.place) for e in in_order]
    await connection.copy_records_to_table("event_keys", schema_name="loan_data", columns=_KEYS, records=rows)


async def store_raw(connection: Connection, events: Sequence[Incoming]) -> None:
    rows = [(e.event_id, *e.place, e.loan_id, e.occurred_at, e.payload) for e in events]
    await connection.copy_records_to_table("raw_data", schema_name="loan_data", columns=_RAW, records=rows)


async def store_duplicates(connection: Connection, duplicates: Sequence[Incoming]) -> None:
    rows = sorted((*event.place, event.event_id) for event in duplicates)
    await connection.execute(STORE_DUPLICATES, *zip(*rows, strict=True))
