"""`loanloop status`: what an installation looks like now."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loanloop.options import DataDir

if TYPE_CHECKING:
    from loanloop.observe.snapshot import Snapshot


def status(
    data_dir: DataDir = Path(".loanloop"),
    json: Annotated[bool, typer.Option("--json", help="For machines: everything, as one JSON object.")] = False,
) -> None:
    """Services, lag, loans, versions, training, F1 by day, breach, alerts, and where everything is.

    **Examples**

    - `loanloop status`
    - `loanloop status --data-dir .loanloop/demo`
    - `loanloop status --json | python -m json.tool`
    """
    from rich.console import Console

    from loanloop.observe.for_machines import as_json
    from loanloop.observe.view import status_view

    snapshot = asyncio.run(_observe(data_dir))
    console = Console()
    if json:
        import msgspec

        print(msgspec.json.encode(as_json(snapshot)).decode())
    else:
        console.print(status_view(snapshot, width=min(console.width, 120)))


async def _observe(data_dir: Path) -> "Snapshot":
    from loanloop.observe.observing import observing

    async with observing(data_dir) as observer:
        return await observer.snapshot()
