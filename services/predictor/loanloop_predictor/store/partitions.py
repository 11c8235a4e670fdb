"""Monthly partitions of predictions, made ahead of time."""

from loanloop_common.postgres import Pool

from loanloop_predictor.store.availability import connection_of


async def ensure_partitions(pool: Pool) -> None:
    async with connection_of(pool) as connection:
        await connection.execute("SELECT loan_data.ensure_partitions()")
