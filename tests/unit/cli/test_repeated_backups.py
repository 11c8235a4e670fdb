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
from structlog.testing import capture_logs

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

    async def newest() -> datetime | None:
        return newest_taken

    async def take() -> Kept:
        raise Unavailable("No space left on device")

    repeating = Repeating(newest, take, DAY, try_again_after=timedelta(0))
    with capture_logs() as logged:
        running = asyncio.create_task(repeating.run())
        await eventually(lambda: len(logged) >= 3)
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
    repeating = Repeating(newest, take, every, try_again_after=timedelta(0))
    with capture_logs() as logged:
        running = asyncio.create_task(repeating.run())
        await eventually(lambda: len(made) == 3)
        running.cancel()

    assert logged[0] == {"event": "backup_failed", "log_level": "warning", "error": said, "after_s": 0.0}
    assert [line["event"] for line in logged[1:4]] == ["backup_taken", "backup_due", "backup_taken"]
    assert repeating.state == "looking"
    assert all(later - earlier >= every for earlier, later in pairwise(made))
    assert REGISTRY.get_sample_value("loanloop_backup_taken_timestamp_seconds") == made[2].timestamp()


async def test_a_mistake_of_ours_ends_it() -> None:
    async def newest() -> datetime | None:
        raise KeyError("portfolio")

    async def take() -> Kept:
        raise AssertionError("none is due")

    with pytest.raises(KeyError):
        await Repeating(newest, take, DAY).run()


async def test_a_look_that_failed_counts_for_nothing_once_the_next_finds_nothing_missed() -> None:
    taken_at, looks = datetime.now(UTC), 0

    async def newest() -> datetime | None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise Unavailable("PostgreSQL does not answer")
        return taken_at

    async def take() -> Kept:
        raise AssertionError("none is due")

    repeating = Repeating(newest, take, DAY, try_again_after=timedelta(0))
    with capture_logs() as logged:
        running = asyncio.create_task(repeating.run())
        await eventually(lambda: len(logged) == 2)
        running.cancel()

    assert logged[1] == {"event": "backup_due", "log_level": "info", "due_at": taken_at + DAY}
    assert repeating.state == "looking"
