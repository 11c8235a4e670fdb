"""The rows of `rejected`, read and marked as sent again. `dead_letters` writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from loanloop_common.postgres import Pool

SELECT_REJECTED = """
    SELECT service, topic, kafka_partition, kafka_offset, reason, field, rule, message, payload_bytes,
           rejected_at, replayed_at, replayed_by, replayed_login, traceparent
    FROM loan_data.rejected
    WHERE ($1::text IS NULL OR reason = $1)
      AND ($2::text IS NULL OR topic = $2)
      AND ($3 OR replayed_at IS NULL)
    ORDER BY rejected_at DESC, topic, kafka_partition, kafka_offset DESC
    LIMIT $4
"""

SELECT_ONE_REJECTED = """
    SELECT service, topic, kafka_partition, kafka_offset, reason, field, rule, message, payload_bytes,
           rejected_at, replayed_at, replayed_by, replayed_login, traceparent, message_key, payload, payload_sha256
    FROM loan_data.rejected
    WHERE topic = $1 AND kafka_partition = $2 AND kafka_offset = $3
    ORDER BY replayed_at IS NOT NULL, rejected_at DESC, service
    LIMIT 1
"""

MARK_REPLAYED = """
    UPDATE loan_data.rejected SET replayed_at = now(), replayed_by = $6
    WHERE topic = $1 AND kafka_partition = $2 AND kafka_offset = $3 AND service = $4
      AND payload_sha256 = $5
"""


class DeadLetterId(NamedTuple):
    """Where the refused message lay, written `loan.received:2:1714`; of a row of a file, `file:loans.csv@…:0:17`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True)
class DeadLetter:
    id: DeadLetterId
    service: str
    reason: str
    field: str | None
    rule: str | None
    message: str
    payload_bytes: int
    rejected_at: datetime
    replayed_at: datetime | None
    replayed_by: str | None  # the name that was given
    replayed_login: str | None  # who was logged in to the database
    traceparent: str | None

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "id": str(self.id), **self.id._asdict()}


@dataclass(frozen=True)
class WholeDeadLetter:
    letter: DeadLetter
    key: bytes | None
    payload: bytes
    payload_sha256: bytes

    @property
    def is_whole(self) -> bool:
        return len(self.payload) == self.letter.payload_bytes


async def fetch_dead_letters(
    pool: Pool, *, reason: str | None, topic: str | None, replayed: bool, limit: int
) -> list[DeadLetter]:
    """The newest first; those sent again only with `replayed`."""
    rows = await pool.fetch(
        SELECT_REJECTED,
        reason,
        topic,
        replayed,
        limit,
    )
    return [_letter(dict(row)) for row in rows]


async def fetch_dead_letter(pool: Pool, which: DeadLetterId) -> WholeDeadLetter | None:
    """Of several at one place, as in a topic that was made anew: the newest that has not been sent again."""
    found = await pool.fetchrow(
        SELECT_ONE_REJECTED,
        *which,
    )
    if found is None:
        return None
    row = dict(found)
    whole = [row.pop(name) for name in ("message_key", "payload", "payload_sha256")]
    return WholeDeadLetter(_letter(row), *whole)


async def mark_replayed(pool: Pool, dead: WholeDeadLetter, by: str) -> None:
    await pool.execute(
        MARK_REPLAYED,
        *dead.letter.id,
        dead.letter.service,
        dead.payload_sha256,
        by,
    )


def _letter(row: dict[str, Any]) -> DeadLetter:
    place: Sequence[Any] = [row.pop(name) for name in ("topic", "kafka_partition", "kafka_offset")]
    return DeadLetter(id=DeadLetterId(*place), **row)
