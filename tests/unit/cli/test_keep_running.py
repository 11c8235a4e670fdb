"""What ends is started again, whatever its start says."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loanloop.runtime import keeping
from loanloop.runtime.keeping import keep_running
from loanloop.runtime.problems import CannotRun


class Ended:
    """A process that is dead already."""

    command = SimpleNamespace(log=Path("kafka.log"))

    async def wait(self) -> int:
        return -9


async def test_a_start_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FIRST_DELAY_S", 0.0)
    starts: list[str] = []
    told: list[str] = []
    enough = asyncio.Event()

    async def start_again() -> Any:
        starts.append("start")
        if len(starts) < 3:
            raise CannotRun("Kafka ended at its start.")
        if len(starts) == 5:
            enough.set()
            await asyncio.Event().wait()
        return Ended()

    task = asyncio.create_task(keep_running("Kafka", Ended(), start_again, told.append))  # type: ignore[arg-type]
    await asyncio.wait_for(enough.wait(), 5)
    task.cancel()

    assert told[0].startswith("Kafka ended with -9")
    assert told[1:3] == ["Kafka ended at its start; starting it again in 0 s"] * 2
    assert told[3].startswith("Kafka ended with -9")
