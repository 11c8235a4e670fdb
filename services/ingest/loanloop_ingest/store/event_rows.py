"""The rows of events: a key for each id, what arrived as it came, and what came again."""

from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from struct import Struct
from uuid import UUID

from loanloop_common.postgres import Connection

from loanloop_ingest.domain.messages import Incoming, Place
from loanloop_ingest.domain.verdicts import KnownEvent
from loanloop_ingest.store.copy_rows import copy_rows, microseconds

SELECT_KNOWN = """
    SELECT event_id, payload_sha256, topic, kafka_partition, kafka_offset
    FROM loan_data.event_keys
    WHERE event_id = ANY ($1::uuid[])
"""

STORE_DUPLICATES = """
    INSERT INTO loan_data.duplicates (topic, kafka_partition, kafka_offset, event_id)
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::uuid[])
    ON CONFLICT (topic, kafka_partition, kafka_offset, event_id) DO NOTHING
"""

_KEYS = ("event_id", "payload_sha256", "topic", "kafka_partition", "kafka_offset")
_RAW = ("event_id", "topic", "kafka_partition", "kafka_offset", "loan_id", "occurred_at", "payload")
# Cells of fixed size, each behind its size, up to the size of the next one.
_KEY = Struct(">hi16si32si")
_OFFSET = Struct(">iiiq")
_EVENT = Struct(">hi16si")
_OFFSET_LOAN = Struct(">iiiqi")
_MOMENT_PAYLOAD = Struct(">iqi")


async def fetch_known(connection: Connection, event_ids: Collection[UUID]) -> dict[UUID, KnownEvent]:
    """Of the ids, those that are taken."""
    rows = await connection.fetch(SELECT_KNOWN, [*event_ids]) if event_ids else []
    return {
        event_id: KnownEvent(payload_sha256, Place(*place) if place[0] is not None else None)
        for event_id, payload_sha256, *place in rows
    }


async def take_keys(connection: Connection, events: Iterable[Incoming]) -> None:
    """Raises UniqueViolationError where another replica has taken one of the ids meanwhile.

    COPY, which writes many rows at once, has no ON CONFLICT.
    """
    in_order = sorted(events, key=attrgetter("event_id.int"))
    await copy_rows(connection, "event_keys", _KEYS, in_order, _key_row)


async def store_raw(connection: Connection, events: Sequence[Incoming]) -> None:
    await copy_rows(connection, "raw_data", _RAW, events, _raw_row)


def _key_row(event: Incoming) -> bytes:
    topic, partition, offset = event.place
    name = topic.encode()
    key = _KEY.pack(len(_KEYS), 16, event.event_id.bytes, 32, event.payload_sha256, len(name))
    return key + name + _OFFSET.pack(4, partition, 8, offset)


def _raw_row(event: Incoming) -> bytes:
    topic, partition, offset = event.place
    name, loan_id, payload = topic.encode(), event.loan_id.encode(), event.payload
    return b"".join((
        _EVENT.pack(len(_RAW), 16, event.event_id.bytes, len(name)), name,
        _OFFSET_LOAN.pack(4, partition, 8, offset, len(loan_id)), loan_id,
        _MOMENT_PAYLOAD.pack(8, microseconds(event.occurred_at), len(payload)), payload,
    ))  # fmt: skip


async def store_duplicates(connection: Connection, duplicates: Sequence[Incoming]) -> None:
    rows = sorted((*event.place, event.event_id) for event in duplicates)
    await connection.execute(STORE_DUPLICATES, *zip(*rows, strict=True))
