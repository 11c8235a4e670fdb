"""What `loanloop produce` sends, in which order and how fast. The order follows from file and options alone, so a
production that was stopped goes on by leaving out the events already sent."""

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from loanloop_common.errors import InvalidMessage
from loanloop_common.events import Topic
from loanloop_ingest.domain.file_events import FileEvent, Refuse, RefusedRow, Row, RowReader, refused_row
from loanloop_ingest.loan_files import LoanFile

_SLICE = 2000  # events published together
_SLICES_A_SECOND = 10  # at least, when a rate is given


class Outcomes(StrEnum):
    NONE = "none"
    DUE = "due"
    AFTER = "after"
    ONLY = "only"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which rows of a file, as which events. Outcomes not known by `now` are left out."""

    now: datetime
    history: bool = False
    outcomes: Outcomes = Outcomes.DUE
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None


@dataclass
class EventSequence:
    """Iterates over the events of a file; `rows_read` tells how far it has come (of `rows_to_read`)."""

    file: LoanFile
    reader: RowReader
    selection: Selection
    refuse: Refuse
    rows_read: int = 0
    _refused: set[int] = field(default_factory=set)

    @property
    def rows_to_read(self) -> int:
        return self.file.n_rows * (2 if self._sends_outcomes is Outcomes.AFTER else 1)

    @property
    def _sends_outcomes(self) -> Outcomes:
        return Outcomes.NONE if self.selection.history else self.selection.outcomes

    def __iter__(self) -> Iterator[FileEvent]:
        match self._sends_outcomes:
            case Outcomes.NONE:
                return self._loans()
            case Outcomes.DUE:
                return self._as_they_fall_due()
            case Outcomes.AFTER:
                return itertools.chain(self._loans(), self._outcomes())
            case Outcomes.ONLY:
                return self._outcomes()

    def _loans(self) -> Iterator[FileEvent]:
        for number, row in self._selected():
            loan, _ = self._loan_and_outcome(number, row)
            if loan:
                yield loan

    def _outcomes(self) -> Iterator[FileEvent]:
        for number, row in self._selected():
            # The outcome of a loan that was refused would wait for it for ever.
            if number not in self._refused and (event := self._outcome(number, row)):
                yield event

    def _as_they_fall_due(self) -> Iterator[FileEvent]:
        pending: list[tuple[datetime, int, FileEvent]] = []
        for number, row in self._selected():
            loan, outcome = self._loan_and_outcome(number, row)
            if loan is None:
                continue
            while pending and pending[0][0] <= loan.due_at:
                yield heapq.heappop(pending)[2]
            yield loan
            if outcome:
                heapq.heappush(pending, (outcome.due_at, number, outcome))
        while pending:
            yield heapq.heappop(pending)[2]

    def _selected(self) -> Iterator[tuple[int, Row]]:
        return itertools.islice(self._chosen(), self.selection.limit)

    def _chosen(self) -> Iterator[tuple[int, Row]]:
        for chunk in self.file.chunks():
            for number, row in enumerate(chunk.rows, start=chunk.first):
                self.rows_read += 1
                if isinstance(row, RefusedRow):
                    self._refuse(row)
                elif self._within_dates(row):
                    yield number, row

    def _within_dates(self, row: Row) -> bool:
        since, until = self.selection.since, self.selection.until
        if since is None and until is None:
            return True
        occurred_at = self.reader.occurred_at(row)
        if occurred_at is None:
            return True  # to be refused by name, not passed over
        return (since is None or since <= occurred_at) and (until is None or occurred_at < until)

    def _loan_and_outcome(self, number: int, row: Row) -> tuple[FileEvent | None, FileEvent | None]:
        """The outcome only where outcomes are sent: a row is sent whole or refused whole."""
        selection = self.selection
        try:
            loan = self.reader.loan(row, history=selection.history, now=selection.now)
            sends_outcomes = self._sends_outcomes is not Outcomes.NONE
            return loan, self.reader.outcome(row, now=selection.now) if sends_outcomes else None
        except InvalidMessage as refused:
            self._refuse(refused_row(number, refused))
            return None, None

    def _outcome(self, number: int, row: Row) -> FileEvent | None:
        try:
            return self.reader.outcome(row, now=self.selection.now)
        except InvalidMessage as refused:
            self._refuse(refused_row(number, refused))
            return None

    def _refuse(self, row: RefusedRow) -> None:
        if row.number not in self._refused:
            self._refused.add(row.number)
            self.refuse(row)


@dataclass
class Sent:
    """What has been acknowledged so far."""

    events: int = 0
    loans: int = 0
    outcomes: int = 0


class Sender:
    """Publishes events in order, one slice while the next is made, at most `rate` loans a second."""

    def __init__(
        self,
        publish: Callable[[Topic, Sequence[tuple[bytes | None, bytes]]], Awaitable[None]],
        *,
        rate: float | None = None,
        acknowledged: Callable[[Sent], None] = lambda _: None,
    ) -> None:
        self._publish = publish
        self._rate = rate
        self._acknowledged = acknowledged
        self._slice = _SLICE if rate is None else max(1, min(_SLICE, int(rate / _SLICES_A_SECOND)))

    async def send(self, events: Iterator[FileEvent], sent: Sent, stop: asyncio.Event) -> None:
        """Until the events end or `stop` is set; then the slice in hand is still acknowledged."""
        started, n_before = time.monotonic(), sent.loans
        events = itertools.islice(events, sent.events, None)
        upcoming = await self._next(events)
        while upcoming and not stop.is_set():
            current, upcoming = upcoming, []
            _, upcoming = await asyncio.gather(self._publish_slice(current, sent), self._next(events))
            if self._rate is not None:
                due = started + (sent.loans - n_before) / self._rate
                await _wait_until(due, stop)

    async def _next(self, events: Iterator[FileEvent]) -> list[FileEvent]:
        return await asyncio.to_thread(lambda: list(itertools.islice(events, self._slice)))

    async def _publish_slice(self, events: Sequence[FileEvent], sent: Sent) -> None:
        loans = [(event.key, event.value) for event in events if event.topic is Topic.LOAN_RECEIVED]
        outcomes = [(event.key, event.value) for event in events if event.topic is Topic.LOAN_OUTCOME]
        if loans:
            await self._publish(Topic.LOAN_RECEIVED, loans)
        if outcomes:
            await self._publish(Topic.LOAN_OUTCOME, outcomes)
        sent.events += len(events)
        sent.loans += len(loans)
        sent.outcomes += len(outcomes)
        self._acknowledged(sent)


async def _wait_until(due: float, stop: asyncio.Event) -> None:
    remaining = due - time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(remaining, 0)):
            await stop.wait()
