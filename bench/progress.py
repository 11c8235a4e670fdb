"""How far the services have come, by the offsets that their groups have committed: counting rows would cost as well."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from loanloop_common.kafka.broker import admin_client
from loanloop_common.settings import KafkaSettings

from bench.installation import Installation

Seen = list[tuple[float, int]]  # when, and how many records were committed then
JOINED_WITHIN_S = 60.0
STALLED_AFTER_S = 60.0


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

    async def until(self, group: str, n: int, *, look_every_s: float = 0.05) -> Seen:
        """Each number of records that was seen, until it is `n`. Raises RuntimeError where it stays what it is."""
        seen = [(time.perf_counter(), await self.committed(group))]
        while seen[-1][1] < n:
            await asyncio.sleep(look_every_s)
            at, now = time.perf_counter(), await self.committed(group)
            if now != seen[-1][1]:
                seen.append((at, now))
            elif at - seen[-1][0] > STALLED_AFTER_S:
                raise RuntimeError(f"{group} stays at {now:,} of {n:,} records")
        return seen


@asynccontextmanager
async def watched(installation: Installation) -> AsyncIterator[Progress]:
    settings = KafkaSettings(bootstrap_servers=installation.infrastructure.kafka_bootstrap)
    async with admin_client(settings) as admin:
        yield Progress(admin)


def per_s(seen: Seen, *, up_to: float = 1.0) -> float:
    """From the second of the commits that were seen to the last of that share: neither start nor end of a burst."""
    (first_at, first), *later = seen[1:]
    goal = seen[0][1] + (seen[-1][1] - seen[0][1]) * up_to
    (last_at, last) = max((one for one in later if one[1] <= goal), default=later[-1])
    return (last - first) / (last_at - first_at)
