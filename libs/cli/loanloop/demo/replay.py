"""Replays loans and their outcomes in event time, at the pace it is told, over the stream and over REST."""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from loanloop_common.events import Topic
from loanloop_ingest.domain.file_events import FileEvent

from loanloop.demo.pace import FULL, Pace

TICK_S = 0.1
READ_AHEAD = 4000
REST_PER_S = 20.0

Publish = Callable[[Topic, Sequence[tuple[bytes | None, bytes]]], Awaitable[None]]
Ask = Callable[[bytes], Awaitable[None]]


@dataclass
class Replayed:
    streamed: int = 0
    asked: int = 0
    outcomes: int = 0

    @property
    def loans(self) -> int:
        return self.streamed + self.asked


@dataclass
class Budget:
    """How much may be sent by now, saved up for at most a quarter of a second."""

    available: float = 0.0

    def earn(self, per_s: float, seconds: float) -> None:
        self.available = min(self.available + per_s * seconds, max(per_s / 4, 1.0))

    def spend(self) -> bool:
        if self.available < 1:
            return False
        self.available -= 1
        return True


@dataclass
class Replay:
    """`clock` is the event time reached. Every second loan at most goes to REST, so that the stream never stops.

    Once `accepting` is False no new loans are sent; the outcomes of those that were still follow.
    """

    events: Iterator[FileEvent]
    publish: Publish
    ask: Ask
    clock: datetime
    pace: Pace = FULL
    accepting: bool = True
    replayed: Replayed = field(default_factory=Replayed)
    _ahead: deque[FileEvent] = field(default_factory=deque)
    _events_budget: Budget = field(default_factory=Budget)
    _rest_budget: Budget = field(default_factory=Budget)
    _asked_last: bool = False
    _passed_over: set[bytes] = field(default_factory=set)

    async def run(self) -> None:
        """Until all events are sent, or no more loans are accepted and each outcome is sent."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while await self._read_ahead() and not self._is_over():
            await asyncio.sleep(TICK_S)
            now = loop.time()
            # After a stall (a slow broker) event time does not leap.
            seconds, last = min(now - last, 5 * TICK_S), now
            await self._send(self.due(seconds))

    def due(self, seconds: float) -> list[FileEvent]:
        """What the pace lets go in this tick; moves the clock."""
        self._events_budget.earn(self.pace.events_per_s, seconds)
        self._rest_budget.earn(REST_PER_S, seconds)
        horizon = self.clock + timedelta(days=self.pace.days_per_s * seconds)
        chosen = []
        while self._ahead and self._ahead[0].due_at <= horizon and self._events_budget.spend():
            if self._is_wanted(event := self._ahead.popleft()):
                chosen.append(event)
        held_back = bool(self._ahead) and self._ahead[0].due_at <= horizon
        self.clock = max(self.clock, self._ahead[0].due_at) if held_back else horizon
        return chosen

    def _is_over(self) -> bool:
        return not self.accepting and self.replayed.outcomes == self.replayed.loans

    def _is_wanted(self, event: FileEvent) -> bool:
        if event.topic is Topic.LOAN_RECEIVED and not self.accepting:
            self._passed_over.add(event.key)
            return False
        return event.key not in self._passed_over

    async def _read_ahead(self) -> bool:
        if len(self._ahead) < READ_AHEAD // 2:
            self._ahead.extend(await asyncio.to_thread(lambda: list(itertools.islice(self.events, READ_AHEAD))))
        return bool(self._ahead)

    async def _send(self, events: Sequence[FileEvent]) -> None:
        outcomes = [(event.key, event.value) for event in events if event.topic is Topic.LOAN_OUTCOME]
        streamed: list[tuple[bytes | None, bytes]] = []
        asked = []
        for event in events:
            if event.topic is Topic.LOAN_RECEIVED:
                (asked.append(event.value) if self._goes_to_rest() else streamed.append((event.key, event.value)))
        if streamed:
            await self.publish(Topic.LOAN_RECEIVED, streamed)
        for loan in asked:
            await self.ask(loan)
        if outcomes:
            await self.publish(Topic.LOAN_OUTCOME, outcomes)
        self.replayed.streamed += len(streamed)
        self.replayed.asked += len(asked)
        self.replayed.outcomes += len(outcomes)

    def _goes_to_rest(self) -> bool:
        self._asked_last = not self._asked_last and self._rest_budget.spend()
        return self._asked_last
