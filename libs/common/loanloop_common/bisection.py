"""One bad element never fails its batch: what only the database refuses is found by halving."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from loanloop_common.postgres import REFUSED_BY_DATABASE, lacks_partition

T = TypeVar("T")


async def bisect_batch(
    items: Sequence[T], store: Callable[[Sequence[T]], Awaitable[object]]
) -> list[tuple[T, Exception]]:
    """Store all items but those that the database refuses, which are returned with its reason, in their order.

    `store` puts its items into one transaction of its own, all or nothing, and is idempotent. For n items of which
    k are refused it is called at most about 2·k·log2(n) + 1 times.
    """
    if not items:
        return []
    try:
        await store(items)
    except REFUSED_BY_DATABASE as reason:
        if lacks_partition(reason):
            raise
        if len(items) == 1:
            return [(items[0], reason)]
        half = len(items) // 2
        return [*await bisect_batch(items[:half], store), *await bisect_batch(items[half:], store)]
    return []
