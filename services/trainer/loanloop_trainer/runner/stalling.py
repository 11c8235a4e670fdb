"""Whether the computation gets on: one that waits for ever in its thread leaves the event loop, and so each heartbeat,
as they are."""

import asyncio
from typing import NoReturn

from loanloop_trainer.runner.reporting import Reporter

# Time is counted in looks: a machine that was suspended held the computation up as well, and that is one look.
LOOKS = 20
# So many times as long a phase may take that has no steps to tell of, as fitting trees.
WITHOUT_STEPS = 12


class TrainingStalls(RuntimeError):
    """A crash like any other: what comes next goes on from the checkpoint."""

    def __init__(self, phase: str, silent_s: float) -> None:
        super().__init__(
            f"no progress for {silent_s:g} s in the phase {phase}; where a machine needs longer than that, raise "
            "LOANLOOP_TRAINER__STALLS_AFTER_S"
        )


async def watch_progress(reporter: Reporter, *, stalls_after_s: float) -> NoReturn:
    """Until cancelled. Raises TrainingStalls."""
    seen, silent = reporter.n_reports, 0
    while True:
        await asyncio.sleep(stalls_after_s / LOOKS)
        seen, silent = (seen, silent + 1) if reporter.n_reports == seen else (reporter.n_reports, 0)
        looks = LOOKS if reporter.takes_steps else LOOKS * WITHOUT_STEPS
        if silent >= looks:
            raise TrainingStalls(reporter.phase, stalls_after_s * looks / LOOKS)
