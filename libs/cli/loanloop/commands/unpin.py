"""`loanloop unpin`: let challengers be deployed again."""

import asyncio
from pathlib import Path

from loanloop.options import As, DataDir, Reason


def unpin(
    reason: Reason = "unpinned by an operator",
    name: As = None,
    data_dir: DataDir = Path(".loanloop"),
) -> None:
    """Take off the pin of a rollback. Challengers that passed meanwhile are judged again, and deployed if they pass.

    **Example:** `loanloop unpin --reason "v3 is trained on the mended data"`
    """
    asyncio.run(_unpin(reason, name, data_dir))


async def _unpin(reason: str, name: str | None, data_dir: Path) -> None:
    from loanloop_evaluator.domain.deployment import left_by_rollback
    from loanloop_evaluator.store.deployments import fetch_past

    from loanloop.operating import operated, say

    async with operated(data_dir) as operating:
        deployed = await operating.operator(name).unpin(reason)
        say(deployed, evaluator_runs=await operating.evaluator_runs())
        async with operating.pool.acquire() as connection:
            left = left_by_rollback(await fetch_past(connection, operating.portfolio.name))
        if left:
            print(f"{left} was live before: loanloop promote {left} brings it back")
