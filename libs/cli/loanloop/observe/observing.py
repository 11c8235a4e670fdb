"""Opens what an Observer looks through: the database and Kafka of an installation."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from loanloop_common.installation import check_schema
from loanloop_common.kafka.broker import connection_options
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import create_pool
from loanloop_common.settings import KafkaSettings

from loanloop.observe.lag import KafkaView
from loanloop.observe.observer import Observer
from loanloop.observe.snapshot import Where
from loanloop.target import Target, find_target
from loanloop.telling import silence_aiokafka


@contextlib.asynccontextmanager
async def observing(data_dir: Path, portfolio: Portfolio | None = None) -> AsyncIterator[Observer]:
    """Without a portfolio, of the one that the database serves.

    Raises Unavailable if nothing runs there and no setting names a database, or it does not answer or serves nothing.
    """
    silence_aiokafka()
    target = find_target(data_dir)
    dsn, kafka = target.dsn(read_only=True), target.kafka()
    pool = await create_pool(dsn, application_name="observer", max_size=2)
    try:
        portfolio = portfolio or await target.served_portfolio(pool)
        await check_schema(pool)
        async with KafkaView(**connection_options(kafka)) as view:
            yield Observer(pool, view, portfolio, _where(target, kafka, dsn))
    finally:
        pool.terminate()


def _where(target: Target, kafka: KafkaSettings, dsn: str) -> Where:
    """Without the password."""
    parts, run = urlsplit(dsn), target.run
    return Where(
        kafka=kafka.bootstrap_servers,
        postgres=f"postgresql://{parts.username or ''}@{parts.hostname}:{parts.port or 5432}{parts.path}",
        rest=run.rest_url if run else None,
        page=run.page_url or None if run else None,
        data_dir=str(target.data_dir) if run else None,
        logs=run.logs if run else None,
    )
