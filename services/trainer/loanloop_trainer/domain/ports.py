"""What the trainer's handlers need of the outside."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol
from uuid import UUID

from loanloop_trainer.domain.trigger import Decision, Situation


class Exit(IntEnum):
    """How a training process ends; any other code, or a signal, is a crash too."""

    ENDED = 0  # with a model, or with a run that says why there is none
    CRASHED = 1
    LOST = 70  # another trainer has the run
    TRY_LATER = 75  # the database is away


@dataclass(frozen=True)
class Ended:
    """The exit code of a training process, negative for a signal, and why, where more is known than the code says."""

    code: int
    cause: str | None = None


@dataclass(frozen=True)
class ClaimedRun:
    run_id: UUID
    trigger: str
    crashes: int


class Runs(Protocol):
    async def fetch_situation(self) -> Situation: ...
    async def create_run(self, decide: Callable[[Situation], Decision], *, seed: int) -> UUID | None: ...
    async def claim_run(self, owner: str, *, stale_after_s: float) -> ClaimedRun | None: ...
    async def release_run(self, run_id: UUID, owner: str) -> None: ...
    async def record_crash(self, run_id: UUID, owner: str, error: str) -> None: ...
    async def fail_crashed(self, run: ClaimedRun, owner: str) -> None: ...
    async def give_up(self, breach_id: int) -> bool: ...


class TrainInChild(Protocol):
    async def __call__(self, run_id: UUID) -> Ended:
        """A cancellation ends the process first."""
        ...
