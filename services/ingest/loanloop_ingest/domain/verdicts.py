"""What becomes of an event whose id may be taken: the first writer of an id wins."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from loanloop_ingest.domain.messages import Incoming, Place


class KnownEvent(NamedTuple):
    """The event that holds an id, and where it was first read: None where its row in raw_data is dropped and the key
    is older than that it kept this."""

    payload_sha256: bytes
    place: Place | None


@dataclass(frozen=True)
class Verdicts:
    fresh: list[Incoming] = field(default_factory=list)
    duplicates: list[Incoming] = field(default_factory=list)
    conflicts: list[Incoming] = field(default_factory=list)


def firsts(incoming: Iterable[Incoming]) -> dict[UUID, Incoming]:
    """The first event of each id, in the order given."""
    found: dict[UUID, Incoming] = {}
    for event in incoming:
        found.setdefault(event.event_id, event)
    return found


def sort_out(
    incoming: Sequence[Incoming], claimed: Mapping[UUID, Incoming], stored: Mapping[UUID, KnownEvent]
) -> Verdicts:
    """Judge each event by who holds its id: `claimed` just now by this batch, or `stored` before.

    A redelivery (the very place that is stored) is neither a duplicate nor a second event; other bytes at that place
    are of a topic that was made anew.
    """
    if len(claimed) == len(incoming):
        return Verdicts(fresh=[*incoming])
    verdicts = Verdicts()
    for event in incoming:
        winner = claimed.get(event.event_id)
        if winner is event:
            verdicts.fresh.append(event)
            continue
        known = stored[event.event_id] if winner is None else KnownEvent(winner.payload_sha256, winner.place)
        if known.payload_sha256 != event.payload_sha256:
            verdicts.conflicts.append(event)
        elif known.place != event.place:
            verdicts.duplicates.append(event)
    return verdicts
