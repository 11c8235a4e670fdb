"""The outbox: an event leaves in the transaction that changes the state, and a relay publishes it."""

from collections import defaultdict
from collections.abc import Sequence

import asyncpg
import structlog

from loanloop_common.errors import MessageTooLarge
from loanloop_common.events import Event, Topic
from loanloop_common.kafka import Broker, publish_batch
from loanloop_common.polling import Poller
from loanloop_common.postgres import Connection, Pool
from loanloop_common.telemetry import count, set_gauge

log = structlog.get_logger()

_ROWS_AT_ONCE = 1000


async def enqueue(connection: Connection, *, service: str, topic: Topic, key: str, event: Event) -> None:
    """In the caller's transaction; the event is published if and only if that commits."""
    await enqueue_many(connection, service=service, rows=[(topic, key, event.model_dump_json().encode())])


async def enqueue_many(connection: Connection, *, service: str, rows: Sequence[tuple[Topic, str, bytes]]) -> None:
    """(topic, key, payload) rows, published in this order."""
    await connection.executemany(
        "INSERT INTO loan_data.outbox (service, topic, message_key, payload) VALUES ($1, $2, $3, $4)",
        [(service, str(topic), key, payload) for topic, key, payload in rows],
    )


class OutboxRelay:
    """Publishes a service's outbox rows, in order, at least once; one replica of a service at a time."""

    def __init__(self, pool: Pool, broker: Broker, *, service: str, poll_s: float = 0.5) -> None:
        self._pool = pool
        self._broker = broker
        self._service = service
        self._poller = Poller(self._relay_all, every_s=poll_s, name=f"outbox-{service}")

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
            if not await connection.fetchval(
                "SELECT pg_try_advisory_xact_lock(hashtext('loan_data.outbox'), hashtext($1))", self._service
            ):
                return False
            rows = await connection.fetch(
                """
                SELECT outbox_id, topic, message_key, payload FROM loan_data.outbox
                WHERE service = $1 ORDER BY outbox_id LIMIT $2
                """,
                self._service,
                _ROWS_AT_ONCE,
            )
            set_gauge("loanloop_common_outbox_waiting_count", len(rows), service=self._service)
            published = await self._publish(rows)
            await connection.execute("DELETE FROM loan_data.outbox WHERE outbox_id = ANY($1::bigint[])", published)
        count("loanloop_common_outbox_published_total", len(published), service=self._service)
        return len(published) == _ROWS_AT_ONCE

    async def _publish(self, rows: Sequence[asyncpg.Record]) -> list[int]:
        """The ids of the published rows."""
        by_topic: dict[str, list[asyncpg.Record]] = defaultdict(list)
        for row in rows:
            by_topic[row["topic"]].append(row)
        published = []
        for topic, some in by_topic.items():
            try:
                await publish_batch(self._broker, topic, [(r["message_key"].encode(), r["payload"]) for r in some])
            except MessageTooLarge:
                published += await self._publish_one_by_one(topic, some)
            else:
                published += [row["outbox_id"] for row in some]
        return published

    async def _publish_one_by_one(self, topic: str, rows: Sequence[asyncpg.Record]) -> list[int]:
        """One row that is too large stays, and holds up no other."""
        published = []
        for row in rows:
            try:
                await publish_batch(self._broker, topic, [(row["message_key"].encode(), row["payload"])])
            except MessageTooLarge as error:
                log.error("outbox_row_too_large", outbox_id=row["outbox_id"], error=str(error))
            else:
                published.append(row["outbox_id"])
        return published
