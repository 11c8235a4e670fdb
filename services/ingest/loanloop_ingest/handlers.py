"""What ingest does with a batch of messages: read, store, publish what was refused."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog
from aiokafka import ConsumerRecord
from loanloop_common.bisection import bisect_batch
from loanloop_common.dead_letters import Refusal, refusal_of
from loanloop_common.errors import InvalidMessage
from loanloop_common.events import Topic
from loanloop_common.kafka import Finish, arrived_at
from loanloop_common.sampled_lines import Facts, FollowedLines, about_of
from loanloop_common.telemetry import timed
from loanloop_common.trace_context import is_sampled, trace_of, traceparents_of

from loanloop_ingest.domain.messages import Incoming, MessageReader, Place
from loanloop_ingest.store.loans import Arrived
from loanloop_ingest.store.reconciliation import ReconciliationStore

log = structlog.get_logger()

_RECONCILED_DAYS = timedelta(days=2)


class ArrivalStore(Protocol):
    async def store(self, arrived: Sequence[Arrived]) -> list[Refusal]: ...


class BatchHandler:
    """A batch is stored while the next one is read."""

    def __init__(
        self,
        *,
        reader: MessageReader,
        store: ArrivalStore,
        publish_refusals: Callable[[Sequence[Refusal]], Awaitable[None]],
        clock: Callable[[], datetime],
        followed: FollowedLines,
    ) -> None:
        self._reader = reader
        self._arrivals = store
        self._publish_refusals = publish_refusals
        self._clock = clock
        self._followed = followed

    async def read_batch(self, records: Sequence[ConsumerRecord]) -> Finish:
        """What is left to be done: to store each message, or refuse it and publish that."""
        with timed("loanloop_batch_step_duration_seconds", step="read"):
            arrived, traceparents = await asyncio.to_thread(self._read, records)
        return partial(self._store_batch, arrived, traceparents)

    async def _store_batch(self, arrived: Sequence[Arrived], traceparents: Mapping[int, str]) -> None:
        with timed("loanloop_batch_step_duration_seconds", step="store"):
            refusals = await self._store(arrived)
        if refusals:
            with timed("loanloop_batch_step_duration_seconds", step="publish_refusals"):
                await self._publish_refusals(refusals)
        for refusal in refusals:  # behind what is tried again, so that each is said once
            log.warning("message_refused", reason=refusal.reason, message=refusal.message, **about_of(refusal.record))
        if traceparents:
            self._followed.tell("event_stored", _followed(arrived, traceparents, refusals), _facts_of)

    def _read(self, records: Sequence[ConsumerRecord]) -> tuple[list[Arrived], dict[int, str]]:
        now = self._clock()
        return [Arrived(record, self._read_one(record, now)) for record in records], traceparents_of(records)

    def _read_one(self, record: ConsumerRecord, now: datetime) -> Incoming | Refusal:
        place = Place(record.topic, record.partition, record.offset)
        read = self._reader.read_loan if record.topic == Topic.LOAN_RECEIVED else self._reader.read_outcome
        try:
            return read(place, record.value or b"", now=arrived_at(record, now))
        except InvalidMessage as refused:
            return refusal_of(record, refused)

    async def _store(self, arrived: Sequence[Arrived]) -> list[Refusal]:
        """What only the database refuses takes nothing else with it."""
        refusals: list[Refusal] = []

        async def store(some: Sequence[Arrived]) -> None:
            refusals.extend(await self._arrivals.store(some))

        unstorable = await bisect_batch(arrived, store)
        if unstorable:
            await store([Arrived(each.record, refusal_of(each.record, reason)) for each, reason in unstorable])
        return refusals


async def reconcile(store: ReconciliationStore, wake_relay: Callable[[], None]) -> None:
    """Find events that ingest and the predictor hold with different payloads."""
    if found := await store.raise_differing(within=_RECONCILED_DAYS):
        log.error("payloads_differ", event_ids=[str(event_id) for event_id in found])
        wake_relay()


def _followed(
    arrived: Sequence[Arrived], traceparents: Mapping[int, str], refusals: Sequence[Refusal]
) -> Iterator[tuple[Incoming, str]]:
    """Of those that are stored, by this batch or before."""
    refused = {id(refusal.record) for refusal in refusals}
    for place, traceparent in traceparents.items():
        record, read = arrived[place].record, arrived[place].read
        if isinstance(read, Incoming) and is_sampled(traceparent) and id(record) not in refused:
            yield read, traceparent


def _facts_of(one: tuple[Incoming, str]) -> Facts:
    read, traceparent = one
    return {"event_id": str(read.event_id), **trace_of(traceparent), **read.place._asdict()}
