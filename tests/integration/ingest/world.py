"""Ingest processes on a database and a broker, and what came of the messages sent to them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord
from loanloop_common.events import Topic
from loanloop_common.kafka import Broker, publish_batch
from loanloop_common.postgres import Pool

from tests.support.eventually import eventually
from tests.support.infrastructure import Backend
from tests.support.topics import committed, read_all
from tests.support.totals import Totals, fetch_totals

Said = dict[str, Any] | bytes


@dataclass
class World:
    infrastructure: Backend
    dsn: str
    pool: Pool
    broker: Broker

    async def start_ingest(self, instance: str = "ingest", **env: str) -> None:
        settings = {"LOANLOOP_POSTGRES__DSN": self.dsn, "LOANLOOP_PORTFOLIO": "sba"}
        await self.infrastructure.start_service("ingest", instance=instance, **settings, **env)

    async def produce(self, events: Iterable[Said], topic: Topic = Topic.LOAN_RECEIVED, *, keyed: bool = True) -> int:
        """By loan_id where the event says one, unless not `keyed`: then over all partitions; how many were sent."""
        messages = [(_key(event) if keyed else None, _bytes(event)) for event in events]
        await publish_batch(self.broker, topic, messages)
        return len(messages)

    async def consumed(self, n: int, topic: Topic = Topic.LOAN_RECEIVED, *, within_s: float = 40) -> Totals:
        """The totals of the topic, once `n` of its messages are done with and their offsets committed."""

        async def done() -> bool:
            return await committed(self.infrastructure.kafka_bootstrap, "ingest", topic) == n

        await eventually(done, within_s=within_s, every_s=0.2, what=f"{n} messages of {topic} consumed")
        totals = (await fetch_totals(self.pool))[topic]
        assert totals.received == n
        assert totals.add_up
        return totals

    async def stored_loans(self) -> set[str]:
        rows = await self.pool.fetch("SELECT loan_id FROM loan_data.processed_data WHERE features IS NOT NULL")
        return {row["loan_id"] for row in rows}

    async def dead_letters(self, topic: Topic = Topic.LOAN_RECEIVED) -> list[ConsumerRecord]:
        return await read_all(self.infrastructure.kafka_bootstrap, topic.dead_letters)


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def _bytes(event: Said) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode()


def _key(event: Said) -> bytes | None:
    """The loan's id where the event says one, so that events of one loan keep their order."""
    if isinstance(event, bytes):
        try:
            event = json.loads(event)
        except ValueError:
            return None
    return str(event["loan_id"]).encode() if isinstance(event, dict) and event.get("loan_id") else None
