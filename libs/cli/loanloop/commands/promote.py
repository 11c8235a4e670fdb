"""`loanloop promote`: make a version live, whatever the gate said."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from loanloop.options import As, DataDir, Reason


def promote(
    version: Annotated[str, typer.Argument(help="The version, such as v3.")],
    reason: Reason = "promoted by an operator",
    name: As = None,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Make a version live, whatever the gate said. Kept with your name and the reason.

    **Examples**

    - `loanloop promote v3`
    - `loanloop promote v3 --reason "the window held a flood of one bank's loans"`
    """
    asyncio.run(_promote(version, reason, name, data_dir))


async def _promote(version: str, reason: str, name: str | None, data_dir: Path) -> None:
    from loanloop.operating import operated, say

    async with operated(data_dir) as operating:
        deployed = await operating.operator(name).promote(version, reason)
        say(deployed, evaluator_runs=await operating.evaluator_runs())
