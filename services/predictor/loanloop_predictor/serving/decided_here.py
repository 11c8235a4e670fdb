"""What REST has decided in this process, for the stream, which gets the same loans a moment later."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

MAX_EVENTS = 50_000


class DecidedHere:
    """Events that were stored as decided, by a hash of their bytes, until the stream has brought them.

    Those that another replica's stream brings stay; of them the oldest are forgotten. Who is forgotten, was decided by
    another replica or says the same in other bytes is found decided in the database. Used by several threads: each
    change is one step.
    """

    def __init__(self, *, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        # The oldest first. A plain dict looks for its first key past all that were removed before it.
        self._hashes: OrderedDict[bytes, bool] = OrderedDict()

    def remember(self, events: Iterable[bytes]) -> None:
        """As they go to `loan.received`."""
        self._hashes.update((_hash(event), True) for event in events)
        while len(self._hashes) > self._max_events:
            self._hashes.popitem(last=False)

    def recognise(self, event: bytes | None) -> bool:
        """Forgets it, since the stream brings it once."""
        return bool(self._hashes) and event is not None and self._hashes.pop(_hash(event), False)


def _hash(event: bytes) -> bytes:
    return hashlib.sha256(event).digest()
