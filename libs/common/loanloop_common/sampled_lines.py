"""What the log says of a single message: the ids that it has, and that it is done, where its sender asks for that."""

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol, TypeVar
from uuid import UUID

import msgspec
import structlog

from loanloop_common.trace_context import HasHeaders, trace_of, traceparent_of
from loanloop_common.wire_rules import UNDECODABLE

log = structlog.get_logger()

Facts = dict[str, object]
Item = TypeVar("Item")


class _Identified(msgspec.Struct):
    event_id: UUID


_EVENT_ID = msgspec.json.Decoder(_Identified)


class Told(HasHeaders, Protocol):
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...


def ids_of(record: Told) -> Facts:
    """event_id and trace_id, where the message has them. It is read once more: for messages that are few."""
    try:
        facts: Facts = {"event_id": str(_EVENT_ID.decode(record.value or b"").event_id)}
    except UNDECODABLE:
        facts = {}
    return facts | trace_of(traceparent_of(record))


def about_of(record: Told) -> Facts:
    """Where the message lies, and its ids."""
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset, **ids_of(record)}


class FollowedLines:
    """One line for each message whose traceparent says `sampled`, and no more than `per_s` of them in a second: who
    sends each message so does not fill the log."""

    def __init__(self, *, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._second = -1
        self._n_said = 0
        self._n_unsaid = 0

    def tell(self, event: str, those: Iterable[Item], facts_of: Callable[[Item], Facts]) -> None:
        """Of those that there is no line left for nothing is made; they are counted, if any are wanted at all."""
        if not self._per_s:
            return
        waiting = iter(those)
        for one in islice(waiting, self._left()):
            unsaid = {"others_unsaid": self._n_unsaid} if self._n_unsaid else {}
            facts = facts_of(one)
            log.info(event, **facts, **unsaid)
            self._n_said, self._n_unsaid = self._n_said + 1, 0
        self._n_unsaid += sum(1 for _ in waiting)

    def _left(self) -> int:
        second = int(self._clock())
        if second != self._second:
            self._second, self._n_said = second, 0
        return self._per_s - self._n_said
