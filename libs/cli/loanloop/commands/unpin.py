"""`loanloop unpin`: let challengers be deployed again."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer


def unpin(
    reason: Annotated[str, typer.Option(help="Why; it is kept with the deployment.")] = "unpinned by an operator",
    data_dir: Annotated[Path, typer.Option(help="Data folder of the running `loanloop up`.")] = Path(".loanloop"),
) -> None:
    """Take off the pin of a rollback. Challengers that passed meanwhile are judged again, and deployed if they pass.

    **Example:** `loanloop unpin --reason "v3 is trained on the mended data"`
    """
    asyncio.run(_unpin(reason, data_dir))


async def _unpin(reason: str, data_dir: Path) -> None:
    from loanloop.operating import operated, say

    async with operated(data_dir) as operating:
        deployed = await operating.operator().unpin(reason)
        say(deployed, evaluator_runs=await operating.evaluator_runs())
