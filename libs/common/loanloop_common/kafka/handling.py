"""A batch from its records to its commit: attempts, what is finished beside the next batch, offsets in order."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeVar

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from loanloop_common.background import in_background
from loanloop_common.kafka.records import next_offsets, places_of
from loanloop_common.kafka.retries import RetryPolicy
from loanloop_common.telemetry import count, observe
from loanloop_common.trace_context import each_traceparent, trace_id_of
from loanloop_common.tracing import Span, begin_span

log = structlog.get_logger()

Finish = Callable[[], Awaitable[None]]
Handle = Callable[[Sequence[ConsumerRecord]], Awaitable[Finish | None]]
Result = TypeVar("Result")
ConsumerState = Literal["starting", "consuming", "retrying", "stopped", "waiting"]

_COMMIT_WITHIN_S = 30.0
_TRACES_NAMED = 10


@dataclass(frozen=True)
class _Batch:
    """`consumer` and `assignment_number`: whom it came from and when, so that it is committed there alone.

    `gave_up`: of the membership in the group that it was taken in, which ends where a batch can't be done.
    """

    records: Sequence[ConsumerRecord]
    consumer: Any
    assignment_number: int
    gave_up: asyncio.Event
    taken_at: float
    span: Span


class _NotDone(Exception):
    """The batch failed at every attempt."""


class Handling:
    """Takes batches one after another. `gave_up` is set when one failed at every attempt: nothing behind it is done."""

    def __init__(
        self, handle: Handle, *, name: str, commits: bool, retry: RetryPolicy, stopping: asyncio.Event
    ) -> None:
        self.name = name
        self.done: dict[TopicPartition, int] = {}  # committed here, of the partitions that are assigned
        self.phase: ConsumerState = "stopped"
        self.gave_up = asyncio.Event()
        self._handle = handle
        self._commits = commits
        self._retry = retry
        self._stopping = stopping
        self._assignment_number = 0
        self._finishing: asyncio.Task[None] | None = None
        self._n_retrying = 0  # handling one batch and finishing another may fail at the same time

    @property
    def state(self) -> ConsumerState:
        return "retrying" if self._n_retrying and self.phase == "consuming" else self.phase

    def begin(self) -> None:
        """A new membership: what was taken in the old one and is still under way stays given up."""
        self.gave_up = asyncio.Event()

    def lose_assignment(self) -> None:
        """What was taken before is not committed any more: its offsets may be behind those of the new owner."""
        self._assignment_number += 1
        self.done.clear()

    async def finish_within(self, seconds: float) -> None:
        """Let the batch that is being finished come to its end; where it doesn't, nothing behind it is done either."""
        finishing = self._finishing  # stays in its place: the next batch waits for it there
        if finishing is None:
            return
        await asyncio.wait({finishing}, timeout=seconds)
        if not finishing.done():
            self.gave_up.set()
            finishing.cancel()
            log.warning("batch_not_finished_in_time", consumer=self.name, after_s=seconds)

    async def take(self, records: Sequence[ConsumerRecord], consumer: Any) -> None:
        """Returns when the next batch may be taken. Nothing is raised: the framework would go on to the next one."""
        if self.gave_up.is_set():
            return
        span = self._begin_span(records)
        batch = _Batch(records, consumer, self._assignment_number, self.gave_up, time.monotonic(), span)
        try:
            with span.current():
                finish = await self._attempted(batch, partial(self._handle, records))
            await self._previous_finished(batch)
            if finish is None:
                await self._done_with(batch)
            elif self._stopping.is_set():
                await self._finish(batch, finish)
            else:
                self._finishing = in_background(self._finish_aside(batch, finish), name=f"finish-{self.name}")
        except _NotDone:
            if self._finishing:
                await asyncio.wait({self._finishing})
            self._give_up(batch)
        except BaseException as cancelled:  # the framework's loop ends with it
            self._give_up(batch, repr(cancelled))
            raise

    async def _previous_finished(self, batch: _Batch) -> None:
        """Raises _NotDone where the batch before this one was not finished: it comes again first."""
        if self._finishing:
            await asyncio.wait({self._finishing})
            self._finishing = None
        if batch.gave_up.is_set():
            raise _NotDone

    async def _finish_aside(self, batch: _Batch, finish: Finish) -> None:
        try:
            await self._finish(batch, finish)
        except _NotDone:
            self._give_up(batch)
        except BaseException as cancelled:
            self._give_up(batch, repr(cancelled))
            raise

    async def _finish(self, batch: _Batch, finish: Finish) -> None:
        with batch.span.current():
            await self._attempted(batch, finish)
        await self._done_with(batch)

    def _begin_span(self, records: Sequence[ConsumerRecord]) -> Span:
        return begin_span(
            f"process {self.name}",
            {"messaging.system": "kafka", "messaging.batch.message_count": len(records)},
            kind="consumer",
            links=lambda: each_traceparent(records),
        )

    def _give_up(self, batch: _Batch, why: str = "not done at the last attempt: it comes again") -> None:
        batch.gave_up.set()
        batch.span.failed(why)
        batch.span.end()

    async def _done_with(self, batch: _Batch) -> None:
        await self._commit(batch)
        count("loanloop_consumer_records_total", len(batch.records), consumer=self.name)
        observe("loanloop_batch_records", len(batch.records), consumer=self.name)
        observe("loanloop_batch_duration_seconds", time.monotonic() - batch.taken_at, consumer=self.name)
        batch.span.end()

    async def _attempted(self, batch: _Batch, work: Callable[[], Awaitable[Result]]) -> Result:
        """Raises _NotDone after the last attempt."""
        started = time.monotonic()
        try:
            return await work()
        except Exception as error:  # noqa: BLE001  # whatever it is, the batch is not done
            self._report_failure(1, batch.records, error)
        self._n_retrying += 1
        try:
            return await self._retried(batch, work, not_after=started + self._retry.within_s)
        finally:
            self._n_retrying -= 1

    async def _retried(self, batch: _Batch, work: Callable[[], Awaitable[Result]], *, not_after: float) -> Result:
        for attempt in range(2, self._retry.attempts + 1):
            stopping = await first_of(self._stopping, within_s=self._retry.delay_s(attempt - 1))
            if stopping or time.monotonic() > not_after:
                break
            try:
                return await work()
            except Exception as error:  # noqa: BLE001  # as above
                self._report_failure(attempt, batch.records, error)
        raise _NotDone

    def _report_failure(self, attempt: int, records: Sequence[ConsumerRecord], error: Exception) -> None:
        count("loanloop_batch_failures_total", consumer=self.name)
        log.warning(
            "batch_failed",
            consumer=self.name,
            attempt=attempt,
            attempts=self._retry.attempts,
            n_records=len(records),
            places=places_of(records),
            trace_ids=[trace_id_of(one) for one in islice(each_traceparent(records), _TRACES_NAMED)],
            error=repr(error),
            exc_info=error if attempt == 1 else None,
        )

    async def _commit(self, batch: _Batch) -> None:
        """A commit that fails costs a redelivery, no record: what follows was handled as well."""
        if not self._commits:
            return
        reason = "the group was rebalanced meanwhile"
        if batch.assignment_number == self._assignment_number:
            try:
                await self._commit_offsets(batch)
                return
            except (KafkaError, TimeoutError) as error:
                reason = repr(error)
        count("loanloop_commit_failures_total", consumer=self.name)
        log.warning(
            "offsets_not_committed",
            consumer=self.name,
            n_records=len(batch.records),
            reason=reason,
            places=places_of(batch.records),
        )

    async def _commit_offsets(self, batch: _Batch) -> None:
        offsets = next_offsets(batch.records)
        async with asyncio.timeout(_COMMIT_WITHIN_S):
            await batch.consumer.commit(offsets)
        if batch.assignment_number == self._assignment_number:
            self.done.update(offsets)


async def first_of(*events: asyncio.Event, within_s: float | None = None) -> bool:
    """Whether one of the events came in time."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(tasks, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()
