"""`loanloop watch`: the live view in the terminal."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from loanloop.options import DataDir


def watch(
    data_dir: DataDir = Path(".loanloop"),
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
) -> None:
    """Live view: services, topics with lag, training, F1 by day against the threshold, versions, alerts.

    Quits with q or Ctrl-C.

    **Example:** `loanloop watch --data-dir .loanloop/demo`, in a second terminal while the demo runs
    """
    from loanloop.observe.watching import watch_until_quit

    asyncio.run(watch_until_quit(data_dir, every_s=every))
