"""Dead letters: a message that can never succeed, kept with its reason in `rejected` and in `<topic>.dlq`."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loanloop_common.errors import EventConflict, InvalidField, InvalidMessage, MessageTooLarge
from loanloop_common.kafka import Broker, Message, publish_messages
from loanloop_common.kafka.fetched import NOT_READ
from loanloop_common.postgres import Connection
from loanloop_common.sampled_lines import Told
from loanloop_common.telemetry import count
from loanloop_common.trace_context import HEADER, traceparent_of

INSERT_REJECTED = """
    INSERT INTO loan_data.rejected (
        service, topic, kafka_partition, kafka_offset, reason, field, rule, message,
        message_key, payload, payload_bytes, payload_sha256, traceparent)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    ON CONFLICT DO NOTHING
"""

_KEY_BYTES = 4096
_TEXT_CHARACTERS = 1000
_HEADERS_BYTES = 32_000


class Refused(Told, Protocol):
    """Where the message lay and what it said; a ConsumerRecord is one."""

    @property
    def key(self) -> bytes | None: ...


@dataclass(frozen=True)
class Refusal:
    """`reason` is a word to count by (invalid_field, conflict, refused_by_database …), `message` a sentence."""

    record: Refused
    reason: str
    message: str
    field: str | None = None
    rule: str | None = None


def refusal_of(record: Refused, error: Exception) -> Refusal:
    """The refusal that an error of the tree stands for; any other error is the database's."""
    if record.value is not None and record.value.startswith(NOT_READ):
        return Refusal(record, "not_read", record.value.partition(b"\n")[0].decode(errors="replace"))
    match error:
        case InvalidField():
            return Refusal(record, "invalid_field", str(error), error.field, error.rule)
        case MessageTooLarge():
            return Refusal(record, "too_large", str(error))
        case InvalidMessage():
            return Refusal(record, "invalid_message", str(error))
        case EventConflict():
            return Refusal(record, "conflict", str(error), "event_id")
        case _:
            return Refusal(record, "refused_by_database", str(error))


async def record_refusals(
    connection: Connection, *, service: str, refusals: Sequence[Refusal], keep_bytes: int = 1_000_000
) -> None:
    """Store them in the caller's transaction, each once under its topic, partition, offset and bytes."""
    for refusal in refusals:
        count("loanloop_dead_letters_total", reason=refusal.reason)
    await connection.executemany(
        INSERT_REJECTED, [(service, *_row_of(refusal, keep_bytes=keep_bytes)) for refusal in refusals]
    )


def _row_of(refusal: Refusal, *, keep_bytes: int) -> tuple[Any, ...]:
    record = refusal.record
    value = record.value or b""
    return (
        record.topic, record.partition, record.offset,
        _text(refusal.reason), _text(refusal.field), _text(refusal.rule), _text(refusal.message),
        record.key, value[:keep_bytes], len(value), hashlib.sha256(value).digest(), traceparent_of(record),
    )  # fmt: skip


async def publish_refusals(broker: Broker, refusals: Sequence[Refusal]) -> None:
    """To each `<topic>.dlq`: key and bytes as they were, in headers reason, origin and traceparent. At least once."""
    by_topic: dict[str, list[Message]] = defaultdict(list)
    limit = broker.settings.max_message_bytes
    for refusal in refusals:
        by_topic[f"{refusal.record.topic}.dlq"].append(dead_letter(refusal, limit=limit))
    for topic, messages in by_topic.items():
        await publish_messages(broker, topic, messages)


def dead_letter(refusal: Refusal, *, limit: int) -> Message:
    """One that would not fit with its headers keeps a prefix; `bytes` and `sha256` are always the original's."""
    record = refusal.record
    key = record.key if record.key is None or len(record.key) <= _KEY_BYTES else record.key[:_KEY_BYTES]
    value = record.value or b""
    room = limit - _HEADERS_BYTES - len(key or b"")
    headers = {
        "reason": refusal.reason,
        "message": refusal.message,
        "field": refusal.field,
        "rule": refusal.rule,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "bytes": str(len(value)),
        "sha256": hashlib.sha256(value).hexdigest(),
        "truncated": "true" if len(value) > room else None,
        HEADER: traceparent_of(record),
    }
    kept = [(name, _bytes(text)) for name, text in headers.items() if text is not None]
    return Message(key, value[:room], kept)


def _text(text: str | None) -> str | None:
    """What a PostgreSQL text takes: no NUL, no lone surrogate, no end of pages."""
    if text is None:
        return None
    return text[:_TEXT_CHARACTERS].encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def _bytes(text: str) -> bytes:
    return text[:_TEXT_CHARACTERS].encode(errors="backslashreplace")
