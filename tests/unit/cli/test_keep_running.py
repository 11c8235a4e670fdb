"""What ends is started again, whatever its start says, unless no start can help."""

import asyncio
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loanloop.runtime import keeping
from loanloop.runtime.children import SupervisorGone
from loanloop.runtime.keeping import keep_running
from loanloop.runtime.problems import CannotRun


class Ended:
    """A process that is dead already."""

    def __init__(self, code: int = -9, *, log: Path = Path("kafka.log"), is_orphan: bool = False) -> None:
        self.command = SimpleNamespace(log=log)
        self.is_orphan = is_orphan
        self._code = code

    async def wait(self) -> int:
        return self._code


async def never() -> Any:
    raise AssertionError("started again")


async def test_a_start_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FIRST_DELAY_S", 0.0)
    starts: list[str] = []
    told: list[str] = []
    enough = asyncio.Event()

    async def start_again() -> Any:
        starts.append("start")
        if len(starts) < 3:
            raise CannotRun("Kafka ended at its start.")
        if len(starts) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        if len(starts) == 6:
            enough.set()
            await asyncio.Event().wait()
        return Ended()

    task = asyncio.create_task(keep_running("Kafka", Ended(), start_again, told.append))  # type: ignore[arg-type]
    await asyncio.wait_for(enough.wait(), 5)
    task.cancel()

    assert told[0].startswith("Kafka ended with -9")
    assert told[1:3] == ["Kafka ended at its start; starting it again in 0 s"] * 2
    assert told[3].startswith("Kafka cannot be started: [Errno 28] No space left on device; starting it again in")
    assert told[4].startswith("Kafka ended with -9")


async def test_a_service_that_only_the_operator_can_help_says_its_sentence_and_is_left(tmp_path: Path) -> None:
    log = tmp_path / "trainer.log"
    log.write_text("loanloop-trainer: of an earlier start.\nnoise\nloanloop-trainer: the disk is read-only.\nnoise\n")

    with pytest.raises(CannotRun, match=r"^the disk is read-only\.$"):
        await keep_running("trainer", Ended(2, log=log), never, print)  # type: ignore[arg-type]


async def test_what_died_with_the_supervisor_is_left_without_a_word() -> None:
    told: list[str] = []

    with pytest.raises(SupervisorGone, match="start loanloop again"):
        await keep_running("Kafka", Ended(is_orphan=True), never, told.append)  # type: ignore[arg-type]

    assert told == []


async def test_a_supervisor_that_is_found_gone_at_the_next_start_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FIRST_DELAY_S", 0.0)

    async def start_again() -> Any:
        raise SupervisorGone

    with pytest.raises(SupervisorGone):
        await asyncio.wait_for(keep_running("Kafka", Ended(), start_again, print), 5)  # type: ignore[arg-type]
