"""The loop behind `loanloop watch`: look, draw, wait, until the user quits."""

import asyncio
import contextlib
import os
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.live import Live

from loanloop.error_sentences import MISFORTUNES, outlived
from loanloop.observe.observer import Observer
from loanloop.observe.observing import observing
from loanloop.observe.rates import Rates
from loanloop.observe.screen import screen
from loanloop.observe.snapshot import Snapshot


class View:
    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.problem: str | None = None
        self.rates = Rates()

    def show(self, snapshot: Snapshot) -> None:
        self.snapshot, self.problem = snapshot, None
        self.rates.add(snapshot)


async def watch_until_quit(data_dir: Path, *, every_s: float) -> None:
    """Goes on while the database is away, and says so; a terminal that is none gets one screen."""
    console, view, quit_asked = Console(), View(), asyncio.Event()
    if not console.is_terminal:
        await _look_once(data_dir, view)
        console.print(screen(view.snapshot, view.rates, view.problem, width=console.width, height=console.height))
        return
    with _keys(quit_asked), Live(console=console, screen=True, auto_refresh=False) as live:
        looking = asyncio.create_task(keep_looking(partial(observing, data_dir), view, every_s=every_s))
        while not (quit_asked.is_set() or looking.done()):
            width, height = console.size
            live.update(screen(view.snapshot, view.rates, view.problem, width=width, height=height), refresh=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(quit_asked.wait(), 0.5)
        if looking.done():
            await looking  # raises: a mistake of ours
        looking.cancel()


async def _look_once(data_dir: Path, view: View) -> None:
    async with observing(data_dir) as observer:
        view.show(await observer.snapshot())


async def keep_looking(
    observing: Callable[[], AbstractAsyncContextManager[Observer]], view: View, *, every_s: float
) -> None:
    """Until cancelled: what goes wrong is the view's problem, until the next look."""
    while True:
        try:
            async with observing() as observer:
                await _follow(observer, view, every_s)
        except MISFORTUNES as error:
            view.problem = outlived(error)
        await asyncio.sleep(every_s)


async def _follow(observer: Observer, view: View, every_s: float) -> None:
    while True:
        started = time.monotonic()
        view.show(await observer.snapshot())
        # On a large installation the counts take a while: never more than a fifth of the database's time.
        await asyncio.sleep(max(every_s, 4 * (time.monotonic() - started)))


@contextlib.contextmanager
def _keys(quit_asked: asyncio.Event) -> Iterator[None]:
    """q, Ctrl-C and SIGTERM set the event; the terminal is left as it was."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, quit_asked.set)
    if not sys.stdin.isatty():
        yield
        return
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)

    def read_key() -> None:
        if os.read(stdin, 1) in {b"q", b"Q", b"\x03", b""}:
            quit_asked.set()

    try:
        tty.setcbreak(stdin)
        loop.add_reader(stdin, read_key)
        yield
    finally:
        loop.remove_reader(stdin)
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
