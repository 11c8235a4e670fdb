"""Rows of the outbox: an event leaves in the transaction that changes the state. `outbox` publishes them."""

from collections.abc import Sequence

from loanloop_common.events import Event, Topic
from loanloop_common.postgres import Connection
from loanloop_common.tracing import current_traceparent

INSERT_ROW = """
    INSERT INTO loan_data.outbox (service, topic, message_key, payload, traceparent) VALUES ($1, $2, $3, $4, $5)
"""


async def enqueue(connection: Connection, *, service: str, topic: Topic, key: str, event: Event) -> None:
    """In the caller's transaction; the event is published if and only if that commits."""
    rows = [(topic, key, event.model_dump_json().encode())]
    await enqueue_many(connection, service=service, rows=rows, traceparent=current_traceparent())


async def enqueue_many(
    connection: Connection, *, service: str, rows: Sequence[tuple[Topic, str, bytes]], traceparent: str | None = None
) -> None:
    """(topic, key, payload) rows, published in this order, each with that traceparent."""
    await connection.executemany(
        INSERT_ROW,
        [(service, str(topic), key, payload, traceparent) for topic, key, payload in rows],
    )
