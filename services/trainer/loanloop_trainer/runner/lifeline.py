"""What a training says to the trainer that started it: that it is alive, and why it ends. It needs
no database for that."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Self

from loanloop_trainer.runner.causes import cause_of

BEAT_EVERY_S = 2.0
# Imports take seconds, and minutes on a machine that swaps.
STARTS_WITHIN_S = 600.0
ALIVE = b"alive\n"
BECAUSE = b"because "


class Lifeline:
    """Never waits for the trainer; that a trainer is gone shows elsewhere."""

    def __init__(self, descriptor: int, *, beat_every_s: float = BEAT_EVERY_S) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._beat_every_s = beat_every_s
        self._event_loop_beats = threading.Event()

    @classmethod
    def on_standard_output(cls, *, beat_every_s: float = BEAT_EVERY_S) -> Self:
        """What anybody prints from here on goes to standard error."""
        lifeline = cls(os.dup(1), beat_every_s=beat_every_s)
        os.dup2(2, 1)
        return lifeline

    def beat_while_starting(self, *, within_s: float = STARTS_WITHIN_S) -> None:
        """Until `run`, or so long at most: a process that hangs before it falls silent too."""
        threading.Thread(target=self._beat_while_starting, args=(within_s,), daemon=True).start()

    async def run(self) -> None:
        """On the event loop, which has to get on as well. Until cancelled."""
        self._event_loop_beats.set()
        while True:
            self._say(ALIVE)
            await asyncio.sleep(self._beat_every_s)

    def say_cause(self, cause: str) -> None:
        """One line, short enough for a pipe to take it whole."""
        self._say(BECAUSE + cause.encode() + b"\n")

    @contextlib.contextmanager
    def saying_why(self) -> Iterator[None]:
        """What ends the process, before it does."""
        try:
            yield
        except Exception as error:
            self.say_cause(cause_of(error))
            raise

    def _beat_while_starting(self, within_s: float) -> None:
        for _ in range(int(within_s / self._beat_every_s)):
            if self._event_loop_beats.wait(self._beat_every_s):
                return
            self._say(ALIVE)

    def _say(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # the trainer is gone, or has not listened for hours
            os.write(self._descriptor, line)
