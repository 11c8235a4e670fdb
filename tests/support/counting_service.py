"""A whole service, small: it stores each record of a topic once, and announces each through the outbox."""

import asyncio
import sys
from collections.abc import Sequence

from aiokafka import ConsumerRecord
from loanloop_common.background import in_background
from loanloop_common.events import Topic
from loanloop_common.kafka import BatchConsumer
from loanloop_common.lifecycle import Foundation, Part, run_service
from loanloop_common.outbox import OutboxRelay, enqueue_many
from loanloop_common.postgres import Pool
from loanloop_common.settings import ServiceSettings


class CountingSettings(ServiceSettings):
    topic: str
    pause_s: float = 0.0
    max_records: int = 1000
    crash: bool = False


class CountingStore:
    def __init__(self, pool: Pool, pause_s: float) -> None:
        self._pool = pool
        self._pause_s = pause_s

    async def count_each(self, records: Sequence[ConsumerRecord]) -> None:
        values = [record.value.decode() for record in records]
        async with self._pool.acquire() as connection, connection.transaction():
            new = await connection.fetch(
                "INSERT INTO handled SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING value", values
            )
            announced = [(Topic.ALERT_RAISED, row["value"], row["value"].encode()) for row in new]
            await enqueue_many(connection, service="counting", rows=announced)
            await asyncio.sleep(self._pause_s)


class Crashing:
    name = "crashing"
    state = "looking"

    async def start(self) -> None:
        in_background(self._crash(), name="crashing")

    async def stop(self) -> None:
        return

    async def _crash(self) -> None:
        raise ZeroDivisionError("a bug")


async def build(foundation: Foundation[CountingSettings]) -> Sequence[Part]:
    settings = foundation.settings
    store = CountingStore(foundation.pool, settings.pause_s)
    consumer = BatchConsumer(
        foundation.broker,
        settings.topic,
        group=settings.topic,
        handle=store.count_each,
        name="records",
        max_records=settings.max_records,
    )
    relay = OutboxRelay(foundation.pool, foundation.broker, service="counting", poll_s=0.1)
    return [relay, consumer, *([Crashing()] if settings.crash else [])]


if __name__ == "__main__":
    sys.exit(run_service("counting", CountingSettings, build))
