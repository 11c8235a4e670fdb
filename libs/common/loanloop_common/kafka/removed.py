"""Records that Kafka removed (retention, DeleteRecords) before their consumer group had committed them."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import structlog

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RemovedRecords:
    """The offsets from `from_offset` up to, and without, `to_offset`, where the log of the partition now starts.

    `from_offset` is None where the group has committed none: it is new, or was idle for longer than the broker keeps
    offsets, so it may have read them.
    """

    group: str
    topic: str
    partition: int
    from_offset: int | None
    to_offset: int


OnRemoved = Callable[[RemovedRecords], Awaitable[None]]


async def log_removed(removed: RemovedRecords) -> None:
    log.error("records_removed_unread", **asdict(removed))
