"""What the services have refused: the rows of `rejected`, and sending them again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from loanloop_common.errors import LoanloopError
from loanloop_common.events import Topic
from loanloop_common.postgres import Pool

if TYPE_CHECKING:
    from loanloop_common.kafka import Broker

SELECT_REFUSED = """
    SELECT service, topic, kafka_partition, kafka_offset, reason, field, rule, message, payload_bytes,
           rejected_at, replayed_at
    FROM loan_data.rejected
    WHERE ($1::text IS NULL OR reason = $1)
      AND ($2::text IS NULL OR topic = $2)
      AND ($3 OR replayed_at IS NULL)
    ORDER BY rejected_at DESC, topic, kafka_partition, kafka_offset DESC
    LIMIT $4
"""

SELECT_ONE = """
    SELECT service, topic, kafka_partition, kafka_offset, reason, field, rule, message, payload_bytes,
           rejected_at, replayed_at, message_key, payload, payload_sha256
    FROM loan_data.rejected
    WHERE topic = $1 AND kafka_partition = $2 AND kafka_offset = $3
    ORDER BY service
    LIMIT 1
"""

MARK_REPLAYED = """
    UPDATE loan_data.rejected SET replayed_at = now()
    WHERE topic = $1 AND kafka_partition = $2 AND kafka_offset = $3 AND service = $4
"""


class DeadLetterUnusable(LoanloopError):
    """The dead letter asked for does not exist, or can't be sent again as it is."""


class DeadLetterId(NamedTuple):
    """Where the refused message lay, written `loan.received:2:1714`; of a row of a file, `file:loans.csv@…:0:17`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "DeadLetterId":
        topic, *numbers = text.rsplit(":", 2)
        try:
            partition, offset = map(int, numbers)
            topic.encode()
        except ValueError:
            raise _no_id(text) from None
        if not (0 <= partition < 1 << 31 and 0 <= offset < 1 << 63):
            raise _no_id(text)
        return cls(topic, partition, offset)


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
    return [_letter(dict(row)) for row in await pool.fetch(SELECT_REFUSED, reason, topic, replayed, limit)]


async def fetch_dead_letter(pool: Pool, which: DeadLetterId) -> WholeDeadLetter:
    """Raises DeadLetterUnusable when there is none."""
    found = await pool.fetchrow(SELECT_ONE, *which)
    if found is None:
        raise DeadLetterUnusable(f"there is no dead letter {which}: `loanloop dlq list` shows what there is")
    row = dict(found)
    whole = [row.pop(name) for name in ("message_key", "payload", "payload_sha256")]
    return WholeDeadLetter(_letter(row), *whole)


def read_event(path: Path) -> bytes:
    """A mended event. Raises DeadLetterUnusable where the file holds no JSON object."""
    content = path.read_bytes().strip()
    try:
        msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        raise DeadLetterUnusable(f"{path} holds no JSON object ({broken}): nothing was sent") from broken
    return content


async def replay(pool: Pool, broker: "Broker", dead: WholeDeadLetter, mended: bytes | None = None) -> Topic:
    """Send it to the topic it came from, as it was or mended, and note that; the topic.

    Raises DeadLetterUnusable where the original can't be sent.
    """
    from loanloop_common.kafka import publish_batch  # half of the time that showing a list would take

    topic = _topic_of(dead, mended)
    payload = dead.payload if mended is None else mended
    await publish_batch(broker, topic, [(dead.key or _loan_id(payload), payload)])
    await pool.execute(MARK_REPLAYED, *dead.letter.id, dead.letter.service)
    return topic


def _topic_of(dead: WholeDeadLetter, mended: bytes | None) -> Topic:
    which = dead.letter.id
    from_file = which.topic.startswith("file:")
    if mended is None and (from_file or not dead.is_whole):
        kept = "is a row of a file" if from_file else "was too large, only its beginning is kept"
        raise DeadLetterUnusable(f"{which} {kept}: send a whole event with --with FILE")
    return Topic.LOAN_RECEIVED if from_file else Topic(which.topic.removeprefix("outbox:"))


class _OfLoan(msgspec.Struct):
    loan_id: str


def _loan_id(payload: bytes) -> bytes | None:
    try:
        return msgspec.json.decode(payload, type=_OfLoan).loan_id.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _no_id(text: str) -> DeadLetterUnusable:
    return DeadLetterUnusable(
        f"{text!r} is no dead letter's id: `loanloop dlq list` shows them, such as loan.received:2:1714"
    )


def _letter(row: dict[str, Any]) -> DeadLetter:
    place: Sequence[Any] = [row.pop(name) for name in ("topic", "kafka_partition", "kafka_offset")]
    return DeadLetter(id=DeadLetterId(*place), **row)
