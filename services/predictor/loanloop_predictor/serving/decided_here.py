"""What REST has decided in this process, for the stream, which gets the same loans a moment later."""

from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

MAX_EVENTS = 50_000


class DecidedHere:
    """Events that are stored as decided, with the hash of their payload, until the stream has brought them.

    Those that another replica's stream brings stay; of them the oldest are forgotten. Who is forgotten, or was decided
    by another replica, is found decided in the database. Used by several threads: each change is one step.
    """

    def __init__(self, *, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        # The oldest first. A plain dict looks for its first key past all that were removed before it.
        self._payload_of: OrderedDict[UUID, bytes] = OrderedDict()

    def remember(self, decided: Iterable[tuple[UUID, bytes]]) -> None:
        self._payload_of.update(decided)
        while len(self._payload_of) > self._max_events:
            self._payload_of.popitem(last=False)

    def recognise(self, event_id: UUID, payload_sha256: bytes) -> bool:
        """Whether the event is decided for this very payload; forgets it, since the stream brings it once."""
        return self._payload_of.pop(event_id, None) == payload_sha256
