"""Publishes events in order and no faster than asked, and counts what Kafka has acknowledged."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from loanloop_common.errors import LoanloopError
from loanloop_common.events import Topic
from loanloop_ingest.domain.file_events import FileEvent

_SLICE = 2000  # events published together
_SLICES_A_SECOND = 10  # at least, when a rate is given


@dataclass
class Acknowledged:
    """What has been acknowledged so far. `with_outcome` are those of the loans that carry theirs."""

    events: int = 0
    loans: int = 0
    outcomes: int = 0
    with_outcome: int = 0


class Sender:
    """Publishes events in order, one slice while the next is made, at most `rate` loans a second."""

    def __init__(
        self,
        publish: Callable[[Topic, Sequence[tuple[bytes | None, bytes]]], Awaitable[None]],
        *,
        rate: float | None = None,
        acknowledged: Callable[[Acknowledged], None] = lambda _: None,
    ) -> None:
        self._publish = publish
        self._rate = rate
        self._acknowledged = acknowledged
        self._slice = _SLICE if rate is None else max(1, min(_SLICE, int(rate / _SLICES_A_SECOND)))

    async def send(self, events: Iterator[FileEvent], done: Acknowledged, stop: asyncio.Event) -> None:
        """Until the events end or `stop` is set; then the slice in hand is still acknowledged.

        Raises LoanloopError where there are fewer events than are said to be done.
        """
        started, n_before = time.monotonic(), done.loans
        n_passed = await asyncio.to_thread(lambda: sum(1 for _ in itertools.islice(events, done.events)))
        if n_passed < done.events:
            raise LoanloopError(
                f"{done.events:,} events were noted as sent and there are {n_passed:,}: "
                "send the file from its beginning with --restart"
            )
        upcoming = await self._next(events)
        while upcoming and not stop.is_set():
            current, upcoming = upcoming, []
            _, upcoming = await asyncio.gather(self._publish_slice(current, done), self._next(events))
            if self._rate is not None:
                due = started + (done.loans - n_before) / self._rate
                await _wait_until(due, stop)

    async def _next(self, events: Iterator[FileEvent]) -> list[FileEvent]:
        return await asyncio.to_thread(lambda: list(itertools.islice(events, self._slice)))

    async def _publish_slice(self, events: Sequence[FileEvent], done: Acknowledged) -> None:
        loans = [(event.key, event.value) for event in events if event.topic is Topic.LOAN_RECEIVED]
        outcomes = [(event.key, event.value) for event in events if event.topic is Topic.LOAN_OUTCOME]
        if loans:
            await self._publish(Topic.LOAN_RECEIVED, loans)
        if outcomes:
            await self._publish(Topic.LOAN_OUTCOME, outcomes)
        done.events += len(events)
        done.loans += len(loans)
        done.outcomes += len(outcomes)
        done.with_outcome += sum(event.defaulted is not None for event in events if event.topic is Topic.LOAN_RECEIVED)
        self._acknowledged(done)


async def _wait_until(due: float, stop: asyncio.Event) -> None:
    remaining = due - time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(remaining, 0)):
            await stop.wait()
