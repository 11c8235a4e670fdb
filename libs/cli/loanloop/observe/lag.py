"""How far each consumer group has come, asked of Kafka itself."""

from collections import Counter
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from loanloop_common.asyncapi import READ_BY
from loanloop_common.errors import Unavailable
from loanloop_common.events import Topic

from loanloop.observe.snapshot import Lag

WATCHED = frozenset(map(str, Topic)) | {topic.dead_letters for topic in Topic}
GROUPS = tuple(READ_BY)


class KafkaView:
    """End offsets and committed offsets. Raises Unavailable while the broker does not answer."""

    def __init__(self, **connection: Any) -> None:
        self._connection = connection
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._disconnect()

    async def end_offsets(self) -> dict[TopicPartition, int]:
        try:
            consumer, admin = await self._connected()
            partitions = [
                TopicPartition(topic["topic"], partition["partition"])
                for topic in await admin.describe_topics()
                if topic["topic"] in WATCHED
                for partition in topic["partitions"]
            ]
            ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions) if partitions else {}
            return ends
        except (KafkaError, OSError, TimeoutError) as cause:
            await self._disconnect()
            raise Unavailable(f"Kafka does not answer: {cause}") from cause

    async def lags(self, ends: dict[TopicPartition, int]) -> tuple[Lag, ...]:
        """One for each topic and group that reads it; of one that has committed nothing yet all messages wait."""
        try:
            _, admin = await self._connected()
            found = []
            for group in GROUPS:
                committed = await admin.list_consumer_group_offsets(group)
                found += lags_of(group, {at: meta.offset for at, meta in committed.items()}, ends)
            return tuple(found)
        except (KafkaError, OSError, TimeoutError) as cause:
            await self._disconnect()
            raise Unavailable(f"Kafka does not answer: {cause}") from cause

    async def _connected(self) -> tuple[AIOKafkaConsumer, AIOKafkaAdminClient]:
        if self._consumer is None or self._admin is None:
            self._consumer = AIOKafkaConsumer(group_id=None, request_timeout_ms=5000, **self._connection)
            self._admin = AIOKafkaAdminClient(request_timeout_ms=5000, **self._connection)
            await self._consumer.start()
            await self._admin.start()
        return self._consumer, self._admin

    async def _disconnect(self) -> None:
        consumer, admin, self._consumer, self._admin = self._consumer, self._admin, None, None
        if consumer is not None:
            await consumer.stop()
        if admin is not None:
            await admin.close()


def lags_of(group: str, committed: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> list[Lag]:
    done: Counter[str] = Counter(dict.fromkeys(map(str, READ_BY[group]), 0))
    for at, offset in committed.items():
        done[at.topic] += max(offset, 0)
    end = topic_totals(ends)
    return [Lag(topic=topic, group=group, committed=done[topic], end=end[topic]) for topic in end if topic in done]


def topic_totals(ends: dict[TopicPartition, int]) -> Counter[str]:
    """Messages ever written, by topic."""
    totals: Counter[str] = Counter()
    for at, offset in ends.items():
        totals[at.topic] += offset
    return totals
