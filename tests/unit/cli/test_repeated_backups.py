"""When the next backup is due, and that one which fails ends nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from loanloop.backups.folder import Kept
from loanloop.backups.repeating import Repeating, due_at
from loanloop_common.errors import Unavailable
from loanloop_common.telemetry import REGISTRY

from tests.support.backups import taken
from tests.support.eventually import eventually

BEGUN = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("newest", "due"),
    [(None, BEGUN), (BEGUN - 3 * DAY, BEGUN - 2 * DAY), (BEGUN - DAY / 4, BEGUN + DAY * 3 / 4)],
    ids=["none is there", "some were missed", "one is there"],
)
def test_the_next_one_is_due_so_long_after_the_newest(newest: datetime | None, due: datetime) -> None:
    assert due_at(newest, begun=BEGUN, every=DAY) == due


async def test_one_that_fails_again_and_again_stays_due_since_when_it_was() -> None:
    newest_taken = datetime.now(UTC) - 10 * DAY
    told: list[str] = []

    async def newest() -> datetime | None:
        return newest_taken

    async def take() -> Kept:
        raise Unavailable("No space left on device")

    repeating = Repeating(newest, take, DAY, told.append, try_again_after=timedelta(0))
    running = asyncio.create_task(repeating.run())
    await eventually(lambda: len(told) >= 3)
    running.cancel()

    due = REGISTRY.get_sample_value("loanloop_backup_due_timestamp_seconds")
    assert due == (newest_taken + DAY).timestamp()
    assert repeating.state == "failing"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unavailable("PostgreSQL does not answer"), "PostgreSQL does not answer"),
        (
            asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
            "the database went away (connection was closed in the middle of operation)",
        ),
        (asyncpg.QueryCanceledError("canceled"), "the database refused: canceled"),
        (ConnectionResetError("reset"), "the database went away (reset)"),
        (KafkaConnectionError("refused"), "Kafka does not do it (KafkaConnectionError: refused)"),
        (PermissionError(13, "Permission denied", "/backups/old"), "[Errno 13] Permission denied: '/backups/old'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_one_that_fails_is_told_and_tried_again_and_the_next_follows(error: Exception, said: str) -> None:
    told: list[str] = []
    made: list[datetime] = []
    attempts = 0

    async def newest() -> datetime | None:
        return made[-1] if made else None

    async def take() -> Kept:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise error
        made.append(datetime.now(UTC))
        return taken(0, taken_at=made[-1])

    every = timedelta(seconds=0.05)
    repeating = Repeating(newest, take, every, told.append, try_again_after=timedelta(0))
    running = asyncio.create_task(repeating.run())
    await eventually(lambda: len(made) == 3)
    running.cancel()

    assert told[0] == f"no backup: {said}; tried again in 0 min"
    assert repeating.state == "looking"
    assert all(later - earlier >= every for earlier, later in pairwise(made))
    assert REGISTRY.get_sample_value("loanloop_backup_taken_timestamp_seconds") == made[2].timestamp()


async def test_a_mistake_of_ours_ends_it() -> None:
    async def newest() -> datetime | None:
        raise KeyError("portfolio")

    async def take() -> Kept:
        raise AssertionError("none is due")

    with pytest.raises(KeyError):
        await Repeating(newest, take, DAY, print).run()


async def test_a_look_that_failed_counts_for_nothing_once_the_next_finds_nothing_missed() -> None:
    told: list[str] = []
    taken_at = datetime.now(UTC)

    async def newest() -> datetime | None:
        if not told:
            raise Unavailable("PostgreSQL does not answer")
        return taken_at

    async def take() -> Kept:
        raise AssertionError("none is due")

    repeating = Repeating(newest, take, DAY, told.append, try_again_after=timedelta(0))
    running = asyncio.create_task(repeating.run())
    await eventually(lambda: len(told) == 2)
    running.cancel()

    assert told[1].startswith("the next backup is due at ")
    assert repeating.state == "looking"
