"""The third kind of installation: Kafka and PostgreSQL in containers, made for it and removed at its end."""

import asyncio
from pathlib import Path

from loanloop.runtime.data_directory import write_private
from loanloop.runtime.installation import Installation
from loanloop.runtime.tasks import together
from loanloop.testing.engine import published_at, require_engine
from loanloop.testing.servers import KafkaServer, PostgresServer


class ContainerInfrastructure(Installation):
    """Services as child processes on servers in containers. For tests: the data go with the containers.

    What a killed test run leaves behind, testcontainers' reaper removes.
    """

    kafka: KafkaServer  # both from the start on
    postgres: PostgresServer
    _servers: tuple[KafkaServer | PostgresServer, ...] = ()

    async def _prepare(self) -> None:
        await asyncio.to_thread(require_engine)

    async def _start_servers(self) -> None:
        logs, ports = self.directory.logs, self.ports
        host = await asyncio.to_thread(published_at)
        self.postgres = PostgresServer(host, ports.postgres, logs / "postgres.log")
        self.kafka = KafkaServer(host, ports.kafka, logs / "kafka.log")
        self._servers = (self.postgres, self.kafka)
        self.progress("starting containers of Kafka and PostgreSQL")
        await together(self.kafka.start(), self.postgres.start())
        write_private(self.postgres_dsn_file, self.postgres_dsn)

    async def _stop_servers(self) -> None:
        self.progress("removing the containers of Kafka and PostgreSQL")
        await asyncio.gather(*(server.remove() for server in self._servers))

    @property
    def kafka_bootstrap(self) -> str:
        return self.kafka.bootstrap

    @property
    def postgres_dsn(self) -> str:
        return self.postgres.dsn()

    @property
    def postgres_dsn_file(self) -> Path:
        return self.directory.path / "postgres.dsn"

    def postgres_dsn_of(self, database: str) -> str:
        return self.postgres.dsn(database)

    async def kill_kafka(self) -> None:
        """kill -9; `start_kafka` continues on the same data and port."""
        await self.kafka.kill()

    async def start_kafka(self) -> None:
        await self.kafka.start()

    async def kill_postgres(self) -> None:
        """kill -9 of the server and its backends; `start_postgres` continues on the same data and port."""
        await self.postgres.kill()

    async def start_postgres(self) -> None:
        await self.postgres.start()
