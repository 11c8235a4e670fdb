"""Publishes the outbox. `enqueue` puts an event into it, in the transaction that changes the state."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import structlog

from loanloop_common.alerts import Alert, raise_alert
from loanloop_common.dead_letters import record_refusals, refusal_of
from loanloop_common.errors import MessageTooLarge
from loanloop_common.kafka import Broker, Message, publish_messages
from loanloop_common.outbox_rows import enqueue, enqueue_many
from loanloop_common.polling import Poller
from loanloop_common.postgres import Connection, Pool
from loanloop_common.telemetry import count, set_gauge
from loanloop_common.trace_context import Headers, headers_with

__all__ = ["OutboxRelay", "enqueue", "enqueue_many"]

log = structlog.get_logger()

_ROWS_AT_ONCE = 1000
_KEEP_BYTES = 64 * 2**20  # nothing else holds the event

TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('loan_data.outbox'), hashtext($1))"

SELECT_ROWS = """
    SELECT outbox_id, topic, message_key, payload, traceparent FROM loan_data.outbox
    WHERE service = $1 ORDER BY outbox_id LIMIT $2
"""

DELETE_ROWS = "DELETE FROM loan_data.outbox WHERE outbox_id = ANY($1::bigint[])"


@dataclass(frozen=True, slots=True)
class _Undeliverable:
    """An outbox row that Kafka takes in no size: a dead letter under `outbox:TOPIC` and the row's number."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Headers

    @classmethod
    def of(cls, row: asyncpg.Record) -> "_Undeliverable":
        key, value, headers = _message(row)
        return cls(f"outbox:{row['topic']}", 0, row["outbox_id"], key or b"", value, headers)


def _message(row: asyncpg.Record) -> Message:
    return Message(row["message_key"].encode(), row["payload"], headers_with(row["traceparent"]))


class OutboxRelay:
    """Publishes a service's outbox rows, in order, at least once; one replica of a service at a time.

    It looks at most once in `gather_s`, however often it is woken: many small transactions become a large one.
    """

    name = "outbox"

    def __init__(self, pool: Pool, broker: Broker, *, service: str, poll_s: float = 0.5, gather_s: float = 0.0) -> None:
        self._pool = pool
        self._broker = broker
        self._service = service
        self._poller = Poller(self._relay_all, every_s=poll_s, gather_s=gather_s, name=f"outbox-{service}")

    @property
    def state(self) -> str:
        return self._poller.state

    async def start(self) -> None:
        await self._poller.start()

    async def stop(self) -> None:
        """Publish what is there, then end."""
        await self._poller.stop()

    def wake(self) -> None:
        """Look now instead of at the next poll."""
        self._poller.wake()

    async def _relay_all(self) -> None:
        while await self._relay_some():
            pass

    async def _relay_some(self) -> bool:
        """Whether there may be more."""
        async with self._pool.acquire() as connection, connection.transaction():
            # Two replicas would publish the rows of one key out of order.
            if not await connection.fetchval(TRY_LOCK, self._service):
                return False
            rows = await connection.fetch(
                SELECT_ROWS,
                self._service,
                _ROWS_AT_ONCE,
            )
            set_gauge("loanloop_outbox_rows", len(rows))
            too_large = await self._publish(rows)
            for row, error in too_large:
                await self._give_up(connection, row, error)
            done = [row["outbox_id"] for row in rows]
            await connection.execute(DELETE_ROWS, done)
        count("loanloop_outbox_published_total", len(rows) - len(too_large))
        return len(rows) == _ROWS_AT_ONCE or bool(too_large)

    async def _publish(self, rows: Sequence[asyncpg.Record]) -> list[tuple[asyncpg.Record, MessageTooLarge]]:
        """All but those that it returns."""
        by_topic: dict[str, list[asyncpg.Record]] = defaultdict(list)
        for row in rows:
            by_topic[row["topic"]].append(row)
        too_large = []
        for topic, some in by_topic.items():
            try:
                await publish_messages(self._broker, topic, [_message(row) for row in some])
            except MessageTooLarge:
                too_large += await self._publish_one_by_one(topic, some)
        return too_large

    async def _publish_one_by_one(
        self, topic: str, rows: Sequence[asyncpg.Record]
    ) -> list[tuple[asyncpg.Record, MessageTooLarge]]:
        too_large = []
        for row in rows:
            try:
                await publish_messages(self._broker, topic, [_message(row)])
            except MessageTooLarge as error:
                too_large.append((row, error))
        return too_large

    async def _give_up(self, connection: Connection, row: asyncpg.Record, error: MessageTooLarge) -> None:
        """A dead letter in the database and an alert, in the transaction that takes the row away."""
        letter = _Undeliverable.of(row)
        log.error("event_too_large", outbox_id=letter.offset, error=str(error))
        refusal = refusal_of(letter, error)
        await record_refusals(connection, service=self._service, refusals=[refusal], keep_bytes=_KEEP_BYTES)
        dead_letter = f"{letter.topic}:{letter.partition}:{letter.offset}"
        alert = Alert(
            kind="event_too_large",
            fact=letter.offset,
            severity="critical",
            message=f"an event of {self._service} never reached Kafka: {error}; it is dead letter {dead_letter}",
            details={"topic": row["topic"], "key": row["message_key"], "dead_letter": dead_letter},
        )
        await raise_alert(connection, alert, service=self._service)
