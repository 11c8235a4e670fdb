"""`loanloop rollback`: back to a version that was live before, and stay there."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from loanloop.options import As, DataDir, Reason


def rollback(
    version: Annotated[
        str | None, typer.Argument(help="A version that was live before; without it, the previous one.")
    ] = None,
    reason: Reason = "rolled back by an operator",
    name: As = None,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Go back to an earlier version and pin it: challengers are judged meanwhile, not deployed, until `loanloop unpin`.

    **Examples**

    - `loanloop rollback`
    - `loanloop rollback v1 --reason "v2 declines every franchise"`
    """
    asyncio.run(_rollback(version, reason, name, data_dir))


async def _rollback(version: str | None, reason: str, name: str | None, data_dir: Path) -> None:
    from loanloop.operating import operated, say

    async with operated(data_dir) as operating:
        deployed = await operating.operator(name).roll_back(version, reason)
        say(deployed, evaluator_runs=await operating.evaluator_runs())
