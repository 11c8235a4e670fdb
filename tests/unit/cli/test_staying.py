"""What `loanloop watch` and `loanloop mlflow` outlive; the page's is in test_page.py, the backups' in their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from loanloop.mirror.keeping import look_again_and_again
from loanloop.observe.observer import Observer
from loanloop.observe.snapshot import Snapshot
from loanloop.observe.watching import View, keep_looking
from loanloop_common.errors import Unavailable

from tests.support.eventually import eventually
from tests.support.snapshots import make_snapshot

MISFORTUNES = pytest.mark.parametrize(
    "error",
    [
        Unavailable("PostgreSQL does not answer"),
        asyncpg.QueryCanceledError("canceled by somebody"),
        asyncpg.ConnectionDoesNotExistError("closed in the middle"),
        asyncpg.InterfaceError("pool is closing"),
        ConnectionResetError("reset by peer"),
        KafkaConnectionError("refused"),
    ],
    ids=lambda error: type(error).__name__,
)


class FailingObserver:
    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error

    async def snapshot(self) -> Snapshot:
        if self.error:
            raise self.error
        return make_snapshot()

    @asynccontextmanager
    async def observing(self) -> AsyncIterator[Observer]:
        yield cast("Observer", self)


@MISFORTUNES
async def test_watch_shows_what_is_wrong_and_looks_again(error: Exception) -> None:
    observer, view = FailingObserver(error), View()
    looking = asyncio.create_task(keep_looking(observer.observing, view, every_s=0.01))
    await eventually(lambda: view.problem is not None)
    assert str(error) in str(view.problem)

    observer.error = None
    await eventually(lambda: view.snapshot is not None)

    assert view.problem is None
    looking.cancel()


@MISFORTUNES
async def test_the_mirror_tells_what_is_wrong_and_looks_again(error: Exception) -> None:
    told: list[str] = []
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise error

    running = asyncio.create_task(look_again_and_again(look, every_s=0.01, tell=told.append))
    await eventually(lambda: looks >= 3)
    running.cancel()

    assert len(told) == 1
    assert str(error) in told[0]
    assert told[0].endswith("; tried again")


async def test_a_mistake_of_ours_ends_both() -> None:
    async def look() -> None:
        raise KeyError("mistake")

    with pytest.raises(KeyError):
        await keep_looking(FailingObserver(KeyError("mistake")).observing, View(), every_s=0.01)
    with pytest.raises(KeyError):
        await look_again_and_again(look, every_s=0.01, tell=print)
