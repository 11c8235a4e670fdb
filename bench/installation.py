"""A Kafka and a PostgreSQL of a benchmark's own, on this machine, in a folder that is gone at the end."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.ports import ANY_FREE
from loanloop_common.kafka import Broker, create_topics, make_broker, stop_broker
from loanloop_common.postgres import Pool, create_pool, migrate
from loanloop_common.settings import KafkaSettings

LAST_LINES = 15


@dataclass(frozen=True)
class Installation:
    infrastructure: EmbeddedInfrastructure
    pool: Pool
    broker: Broker


def _note_logs(error: Exception, folder: Path) -> None:
    """What the servers and services said last, since their logs are gone with the folder."""
    for log in sorted(folder.glob("*.log")):
        last = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        error.add_note("\n".join([f"{log.name} ends:", *last]))


@asynccontextmanager
async def fresh_installation() -> AsyncIterator[Installation]:
    """Migrated, with all topics; services that the benchmark has started are stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="loanloop-bench-") as folder:
        async with EmbeddedInfrastructure(Path(folder), ports=ANY_FREE) as infrastructure:
            await migrate(infrastructure.postgres_dsn)
            await create_topics(infrastructure.kafka_bootstrap)
            pool = await create_pool(infrastructure.postgres_dsn, application_name="bench")
            broker = make_broker(KafkaSettings(bootstrap_servers=infrastructure.kafka_bootstrap), service="bench")
            await broker.connect()
            try:
                yield Installation(infrastructure, pool, broker)
            except Exception as error:
                _note_logs(error, infrastructure.directory.logs)
                raise
            finally:
                await infrastructure.stop_services()
                await stop_broker(broker)
                await pool.close()
