"""The monthly partitions of raw_data and predictions, made ahead of time by the services that fill them."""

from loanloop_common.polling import Poller
from loanloop_common.postgres import Pool

_EVERY_S = 6 * 3600.0

ENSURE_PARTITIONS = "SELECT loan_data.ensure_partitions()"


async def partitions_ahead(pool: Pool) -> Poller:
    """The part that goes on making them; those that are missing now are there when this returns."""

    async def ensure_partitions() -> None:
        """From this month to three months ahead; idempotent."""
        await pool.execute(ENSURE_PARTITIONS)

    await ensure_partitions()
    return Poller(ensure_partitions, every_s=_EVERY_S, name="partitions", cancel_on_stop=True)
