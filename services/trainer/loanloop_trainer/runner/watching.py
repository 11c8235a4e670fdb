"""The trainer's look at the training process it started: how it ends, and that it gets on until then."""

import asyncio
from asyncio import StreamReader
from asyncio.subprocess import Process

import structlog

from loanloop_trainer.domain.ports import Ended
from loanloop_trainer.runner.lifeline import BECAUSE

log = structlog.get_logger()

# Time is counted in looks: while this process itself was held up (a suspended machine, one that swaps) the other may
# have been as well, and that is one look.
LOOKS = 20
READ_WITHIN_S = 2.0


class _Heard:
    """What the training has said so far, by its lifeline."""

    def __init__(self) -> None:
        self.cause: str | None = None
        self._something = False

    async def listen(self, said: StreamReader) -> None:
        async for line in said:
            self._something = True
            if line.startswith(BECAUSE):
                self.cause = line.removeprefix(BECAUSE).decode(errors="replace").strip()

    def something_new(self) -> bool:
        new, self._something = self._something, False
        return new


async def watched(child: Process, *, hangs_after_s: float) -> Ended:
    """The end of a process whose standard output is its lifeline; one that says nothing for so long is killed."""
    assert child.stdout is not None
    heard = _Heard()
    listening = asyncio.create_task(heard.listen(child.stdout))
    ending = asyncio.create_task(child.wait())
    try:
        hung = await _hangs(ending, heard, hangs_after_s)
        if hung:
            log.error("training_hangs", pid=child.pid, silent_s=hangs_after_s)
            child.kill()
        code = await ending
        await asyncio.wait({listening}, timeout=READ_WITHIN_S)
    finally:
        listening.cancel()
        ending.cancel()
    if hung:
        heard.cause = f"the training process gave no sign of life for {hangs_after_s:g} s and was killed"
    return Ended(code, heard.cause)


async def _hangs(ending: asyncio.Task[int], heard: _Heard, hangs_after_s: float) -> bool:
    """Returns when it hangs or has ended."""
    silent = 0
    while silent < LOOKS:
        await asyncio.wait({ending}, timeout=hangs_after_s / LOOKS)
        if ending.done():
            return False
        silent = 0 if heard.something_new() else silent + 1
    return True
