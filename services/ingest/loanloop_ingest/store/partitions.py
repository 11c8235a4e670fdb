"""The partitions that raw_data and predictions need next."""

from loanloop_common.postgres import Pool


async def ensure_partitions(pool: Pool) -> None:
    """From this month to three months ahead; idempotent."""
    await pool.execute("SELECT loan_data.ensure_partitions()")
