"""How far the services have come, mostly by the offsets that their groups commit: counting rows would cost as well."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from loanloop_common.kafka.broker import admin_client
from loanloop_common.settings import KafkaSettings

from bench.installation import Installation

Seen = list[tuple[float, int]]  # when, and how many were done then
JOINED_WITHIN_S = 60.0
STALLED_AFTER_S = 60.0


async def seen_until(
    n: int, look: Callable[[], Awaitable[int]], what: str, *, look_every_s: float = 0.05, at_most_s: float = inf
) -> Seen:
    """Each number that a look gave, until it is `n` or the time is over.

    Raises RuntimeError where it stays what it is, as behind a service that has ended: nobody starts that again.
    """
    seen = [(time.perf_counter(), await look())]
    while seen[-1][1] < n and time.perf_counter() - seen[0][0] < at_most_s:
        await asyncio.sleep(look_every_s)
        at, now = time.perf_counter(), await look()
        if now != seen[-1][1]:
            seen.append((at, now))
        elif at - seen[-1][0] > STALLED_AFTER_S:
            raise RuntimeError(f"{now:,} of {n:,} {what}, and no more in {STALLED_AFTER_S:g} s")
    return seen


class Progress:
    def __init__(self, admin: AIOKafkaAdminClient) -> None:
        self._admin = admin

    async def committed(self, group: str) -> int:
        """Records of all its topics."""
        try:
            offsets = await self._admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:  # the broker sets up its offsets when the first group asks
            return 0
        return sum(max(found.offset, 0) for found in offsets.values())

    async def joined(self, group: str, n_members: int) -> None:
        """Returns once the group has so many members and each knows its partitions. Raises RuntimeError."""
        deadline = time.perf_counter() + JOINED_WITHIN_S
        while (found := await self._members(group)) != ("Stable", n_members):
            if time.perf_counter() > deadline:
                raise RuntimeError(f"{group} is {found[0]} with {found[1]} of {n_members} members")
            await asyncio.sleep(0.1)

    async def _members(self, group: str) -> tuple[str, int]:
        """The group's state, and how many members it has."""
        try:
            (answer,) = await self._admin.describe_consumer_groups([group])
        except GroupCoordinatorNotAvailableError:
            return "without a coordinator", 0
        ((_, _, state, _, _, members, *_),) = answer.groups
        return state, len(members)

    async def until(self, group: str, n: int) -> Seen:
        return await seen_until(n, partial(self.committed, group), f"records are committed by {group}")


@asynccontextmanager
async def watched(installation: Installation) -> AsyncIterator[Progress]:
    settings = KafkaSettings(bootstrap_servers=installation.infrastructure.kafka_bootstrap)
    async with admin_client(settings) as admin:
        yield Progress(admin)


def per_s(seen: Seen, *, up_to: float = 1.0) -> float:
    """From the first of the commits that were seen to the last of that share: neither start nor end of a burst."""
    (first_at, first), *later = seen[1:]
    goal = seen[0][1] + (seen[-1][1] - seen[0][1]) * up_to
    (last_at, last) = max((one for one in later if one[1] <= goal), default=later[-1])
    return (last - first) / (last_at - first_at)
