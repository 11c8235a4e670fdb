"""What REST has decided in this process, for the stream, which gets the same loans a moment later."""

from collections.abc import Iterable
from uuid import UUID

MAX_EVENTS = 50_000


class DecidedHere:
    """The newest events that are stored as decided, with the hash of their payload; older ones are forgotten.

    Who is forgotten, or was decided by another replica, is found decided in the database.
    """

    def __init__(self, *, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._payload_of: dict[UUID, bytes] = {}  # the oldest first

    def remember(self, decided: Iterable[tuple[UUID, bytes]]) -> None:
        self._payload_of.update(decided)
        while len(self._payload_of) > self._max_events:
            del self._payload_of[next(iter(self._payload_of))]

    def knows(self, event_id: UUID, payload_sha256: bytes) -> bool:
        """Whether the event is decided for this very payload."""
        return self._payload_of.get(event_id) == payload_sha256
