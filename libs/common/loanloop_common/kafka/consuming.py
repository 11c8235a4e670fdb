"""Batch consumers: at least once, explicit commits, and never past a batch that was not handled."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal

import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from faststream.kafka import Topic as Subscribed
from faststream.middlewares import AckPolicy

from loanloop_common.background import in_background
from loanloop_common.kafka.broker import Broker, bounded
from loanloop_common.kafka.records import first_offsets, next_offsets, raw_message, raw_records
from loanloop_common.kafka.retries import RetryPolicy
from loanloop_common.telemetry import count, observe

log = structlog.get_logger()

Handle = Callable[[Sequence[ConsumerRecord]], Awaitable[None]]
ConsumerState = Literal["starting", "consuming", "retrying", "stopped", "waiting"]

_COMMIT_WITHIN_S = 30.0


class BatchConsumer:
    """One FastStream batch subscriber with raw records and explicit commits.

    `handle(records)` returns: everything in the batch is done, its offsets are committed.
    It raises: the same batch is retried with backoff; after the last attempt the consumer leaves its group without a
    commit and starts again after `retry.restart_after_s`, so the batch is delivered again.

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
        self.state: ConsumerState = "stopped"
        self._broker = broker
        self._group = group
        self._handle = handle
        self._retry = retry
        self._assignment_number = 0
        self._stopping = asyncio.Event()
        self._gave_up = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._running: asyncio.Task[None] | None = None
        self._subscriber = self._subscribe(topics, max_records, batch_timeout_ms)

    async def start(self) -> None:
        """Begin to consume in the background; a broker that is away is waited for."""
        self._stopping.clear()
        self._running = in_background(self._run(), name=f"consumer-{self.name}")

    async def stop(self) -> None:
        """Let the batch in hand finish, bounded by `finish_batch_within_s`, and leave the group."""
        self._stopping.set()
        if self._running:
            await bounded(self._running, within_s=self._leave_within_s + 5, what=f"consumer {self.name}")
            self._running = None
        self.state = "stopped"

    async def pause_until(self, event: asyncio.Event) -> None:
        """Stay in the group and take nothing until `event` is set; returns then."""
        self._open.clear()
        self._pause_assigned()
        if self.state == "consuming":
            self.state = "waiting"
        try:
            await event.wait()
        finally:
            self._open.set()
            if consumer := self._subscriber.consumer:
                consumer.resume(*consumer.assignment())
            if self.state == "waiting":
                self.state = "consuming"

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
            listener=_AssignmentListener(self._lose_assignment, self._pause_assigned),
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
            self._gave_up.clear()
            self.state = "starting"
            if await self._joined():
                self.state = "consuming" if self._open.is_set() else "waiting"
                consumer = self._subscriber.consumer
                await _first_of(self._stopping, self._gave_up, consumer.fetching_failed)
            await bounded(self._subscriber.stop(), within_s=self._leave_within_s, what=f"consumer {self.name}")
            if not self._stopping.is_set():
                self.state = "stopped"
                count("loanloop_common_consumer_restarts_total", service=self._broker.service, consumer=self.name)
                log.error("consumer_restarts", consumer=self.name, after_s=self._retry.restart_after_s)
                await _first_of(self._stopping, within_s=self._retry.restart_after_s)

    async def _joined(self) -> bool:
        """Joining can last as long as the group's other members take, so it doesn't hold up a stop."""
        joining = asyncio.create_task(self._subscriber.start())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({joining, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not joining.done():
            joining.cancel()
            return False
        if error := joining.exception():
            if not isinstance(error, (KafkaError, OSError)):
                raise error
            log.warning("consumer_cannot_start", consumer=self.name, error=repr(error))
        return error is None

    async def _work(self, records: tuple[ConsumerRecord, ...]) -> None:
        """FastStream calls this for each batch. Nothing is raised: it would go on to the next batch."""
        consumer = self._subscriber.consumer
        if not self._open.is_set():
            for partition, offset in first_offsets(records).items():
                consumer.seek(partition, offset)
            return
        assignment_number = self._assignment_number
        started = time.monotonic()
        if await self._handled(records):
            await self._commit(consumer, records, assignment_number)
            labels = {"service": self._broker.service, "consumer": self.name}
            count("loanloop_common_records_consumed_total", len(records), **labels)
            observe("loanloop_common_batch_seconds", time.monotonic() - started, **labels)
        else:
            self._subscriber.running = False
            self._gave_up.set()

    async def _handled(self, records: Sequence[ConsumerRecord]) -> bool:
        started = time.monotonic()
        for attempt in range(1, self._retry.attempts + 1):
            try:
                await self._handle(records)
            except Exception as error:  # noqa: BLE001  # whatever it is, the batch is not done
                self._report_failure(attempt, records, error)
            else:
                self.state = "consuming"
                return True
            if attempt == self._retry.attempts or time.monotonic() - started > self._retry.within_s:
                break
            self.state = "retrying"
            if await _first_of(self._stopping, within_s=self._retry.delay_s(attempt)):
                break
        return False

    def _report_failure(self, attempt: int, records: Sequence[ConsumerRecord], error: Exception) -> None:
        count("loanloop_common_batches_failed_total", service=self._broker.service, consumer=self.name)
        log.warning(
            "batch_failed",
            consumer=self.name,
            attempt=attempt,
            attempts=self._retry.attempts,
            n_records=len(records),
            error=repr(error),
            exc_info=error if attempt == 1 else None,
        )

    async def _commit(self, consumer: Any, records: Sequence[ConsumerRecord], assignment_number: int) -> None:
        """A commit that fails costs a redelivery, no record: what follows was handled as well."""
        if self._group is None:
            return
        reason = "the group was rebalanced meanwhile"
        if assignment_number == self._assignment_number:
            try:
                async with asyncio.timeout(_COMMIT_WITHIN_S):
                    await consumer.commit(next_offsets(records))
                    return
            except (KafkaError, TimeoutError) as error:
                reason = repr(error)
        count("loanloop_common_commits_failed_total", service=self._broker.service, consumer=self.name)
        log.warning("offsets_not_committed", consumer=self.name, n_records=len(records), reason=reason)

    def _lose_assignment(self) -> None:
        self._assignment_number += 1

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


async def _first_of(*events: asyncio.Event, within_s: float | None = None) -> bool:
    """Whether one of the events came in time."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    done, _ = await asyncio.wait(tasks, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    return bool(done)
