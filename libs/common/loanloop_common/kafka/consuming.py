"""Batch consumers: at least once, explicit commits, and never past a batch that was not handled."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from faststream.kafka import Topic as Subscribed
from faststream.middlewares import AckPolicy

from loanloop_common.background import in_background
from loanloop_common.kafka.broker import Broker, bounded
from loanloop_common.kafka.handling import ConsumerState, Handle, Handling, first_of
from loanloop_common.kafka.lag import report_lag
from loanloop_common.kafka.records import first_offsets, raw_message, raw_records
from loanloop_common.kafka.retries import RetryPolicy
from loanloop_common.telemetry import CounterName, count

log = structlog.get_logger()

_END_JOINING_WITHIN_S = 5.0
_COUNTERS: tuple[CounterName, ...] = (
    "loanloop_consumer_records_total",
    "loanloop_batch_failures_total",
    "loanloop_commit_failures_total",
    "loanloop_consumer_restarts_total",
)


class BatchConsumer:
    """One FastStream batch subscriber with raw records and explicit commits.

    `handle(records)` returns: everything in the batch is done, its offsets are committed.
    It raises: the same batch is retried with backoff; after the last attempt the consumer leaves its group without a
    commit and starts again after `retry.restart_after_s`, so the batch is delivered again.

    `handle` may return what is left to do instead, such as storing what it has computed: that runs while the next batch
    is handled, one at a time and in order, and the batch is committed behind it.

    A batch may span topics and partitions. `broadcast`: no group, every record from the beginning of the topic, no
    commits.
    """

    def __init__(  # the one place where a consumer's terms are stated
        self,
        broker: Broker,
        *topics: str,
        group: str | None,
        handle: Handle,
        name: str,
        max_records: int = 1000,
        batch_timeout_ms: int = 20,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
        broadcast: bool = False,
    ) -> None:
        if broadcast == (group is not None):
            raise ValueError(f"consumer {name}: a broadcast has no group, every other consumer has one")
        self.name = name
        self._broker = broker
        self._group = group
        self._retry = retry
        self._stopping = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._running: asyncio.Task[None] | None = None
        for counter in _COUNTERS:
            count(counter, 0, consumer=name)
        self._handling = Handling(handle, name=name, commits=group is not None, retry=retry, stopping=self._stopping)
        self._subscriber = self._subscribe(topics, max_records, batch_timeout_ms)

    @property
    def state(self) -> ConsumerState:
        return self._handling.state

    async def start(self) -> None:
        """Begin to consume in the background; a broker that is away is waited for."""
        self._stopping.clear()
        self._running = in_background(self._run(), name=f"consumer-{self.name}")

    async def stop(self) -> None:
        """Let the batches in hand finish, each bounded by `finish_batch_within_s`, and leave the group."""
        self._stopping.set()
        if self._running:
            await bounded(self._running, within_s=2 * self._leave_within_s + 5, what=f"consumer {self.name}")
            self._running = None
        self._handling.phase = "stopped"

    async def pause_until(self, event: asyncio.Event) -> None:
        """Stay in the group and take nothing until `event` is set; returns then."""
        self._open.clear()
        self._pause_assigned()
        if self._handling.phase == "consuming":
            self._handling.phase = "waiting"
        try:
            await event.wait()
        finally:
            self._open.set()
            if consumer := self._subscriber.consumer:
                consumer.resume(*consumer.assignment())
            if self._handling.phase == "waiting":
                self._handling.phase = "consuming"

    def _subscribe(self, topics: Iterable[str], max_records: int, batch_timeout_ms: int) -> Any:
        settings = self._broker.settings
        subscriber = self._broker.subscriber(
            *(Subscribed(str(topic), declare=False) for topic in topics),
            batch=True,
            group_id=self._group,
            auto_offset_reset="earliest" if self._group is None else "none",  # a group's consumer finds its own start
            ack_policy=AckPolicy.MANUAL,
            isolation_level="read_committed",
            max_records=max_records,
            batch_timeout_ms=batch_timeout_ms,
            max_partition_fetch_bytes=max(settings.max_message_bytes, 1024 * 1024),
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.session_timeout_ms // 4,
            max_poll_interval_ms=settings.max_poll_interval_ms,
            listener=_AssignmentListener(self._handling.lose_assignment, self._pause_assigned),
            parser=raw_message,
            decoder=raw_records,
            no_reply=True,
            title=self.name,
        )
        subscriber(self._work)
        return subscriber

    @property
    def _leave_within_s(self) -> float:
        return self._broker.settings.finish_batch_within_s + 5

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._handling.begin()
            self._handling.phase = "starting"
            if await self._joined():
                self._handling.phase = "consuming" if self._open.is_set() else "waiting"
                await self._consumed(self._subscriber.consumer)
            await self._handling.finish_within(self._leave_within_s)
            await bounded(self._subscriber.stop(), within_s=self._leave_within_s, what=f"consumer {self.name}")
            if not self._stopping.is_set():
                self._handling.phase = "stopped"
                count("loanloop_consumer_restarts_total", consumer=self.name)
                log.error("consumer_restarts", consumer=self.name, after_s=self._retry.restart_after_s)
                await first_of(self._stopping, within_s=self._retry.restart_after_s)

    async def _consumed(self, consumer: Any) -> None:
        """Returns when this membership has to end."""
        watching = self._watch_lag(consumer)
        try:
            await first_of(self._stopping, self._handling.gave_up, consumer.fetching_failed)
        finally:
            if watching:
                watching.cancel()

    def _watch_lag(self, consumer: Any) -> asyncio.Task[None] | None:
        if self._group is None:
            return None
        reporting = report_lag(consumer, self._handling.done, name=self.name, group=self._group)
        return in_background(reporting, name=f"lag-{self.name}")

    async def _joined(self) -> bool:
        """Joining can last as long as the group's other members take, so it doesn't hold up a stop."""
        joining = asyncio.create_task(self._subscriber.start())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({joining, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not joining.done():
            joining.cancel()
            await asyncio.wait({joining}, timeout=_END_JOINING_WITHIN_S)
            return False
        # aiokafka can answer a start with CancelledError, as it can a stop.
        error = asyncio.CancelledError() if joining.cancelled() else joining.exception()
        if error is None:
            return True
        if not isinstance(error, (KafkaError, OSError, asyncio.CancelledError)):
            raise error
        log.warning("consumer_cannot_start", consumer=self.name, error=repr(error))
        return False

    async def _work(self, records: tuple[ConsumerRecord, ...]) -> None:
        """FastStream calls this for each batch. Nothing is raised: it would go on to the next batch."""
        consumer = self._subscriber.consumer
        if not self._open.is_set():
            for partition, offset in first_offsets(records).items():
                consumer.seek(partition, offset)
            return
        await self._handling.take(records, consumer)
        if self._handling.gave_up.is_set():
            self._subscriber.running = False

    def _pause_assigned(self) -> None:
        consumer = self._subscriber.consumer
        if consumer is not None and not self._open.is_set():
            consumer.pause(*consumer.assignment())


class _AssignmentListener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    def __init__(self, lose: Callable[[], None], gain: Callable[[], None]) -> None:
        self._lose = lose
        self._gain = gain

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002
        self._lose()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # noqa: ARG002
        self._gain()
