"""The two kinds of installation: with a Kafka and a PostgreSQL of its own, or on given ones."""

import asyncio
from dataclasses import replace
from pathlib import Path

from loanloop.runtime.children import Child
from loanloop.runtime.data_directory import RunState, write_private
from loanloop.runtime.installation import Installation, quiet
from loanloop.runtime.java import find_java
from loanloop.runtime.kafka import EmbeddedKafka
from loanloop.runtime.kafka_jars import kafka_jars
from loanloop.runtime.ports import HOST, Ports
from loanloop.runtime.postgres import EmbeddedPostgres
from loanloop.runtime.problems import CannotRun
from loanloop.runtime.settings import RuntimeSettings
from loanloop.runtime.tasks import together
from loanloop.runtime.whole_data import begin_restore, refuse_parts
from loanloop.telling import Tell


class EmbeddedInfrastructure(Installation):
    """A real broker and a real database as child processes, which nothing outlives.

    A second start on the same folder continues where the first one was.
    """

    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres

    def __init__(
        self,
        data_dir: Path,
        *,
        ports: Ports | None = None,
        progress: Tell = quiet,
        rest_host: str = HOST,
        restores: bool = False,
    ) -> None:
        """Raises CannotRun, when entered, where a database is missing, unless it is there to restore one."""
        super().__init__(data_dir, ports=ports, progress=progress, rest_host=rest_host)
        self._restores = restores

    async def _prepare(self) -> None:
        settings = RuntimeSettings()
        self.java = await asyncio.to_thread(find_java, settings.java_home)
        self.jars = await asyncio.to_thread(kafka_jars, settings, self.progress)

    async def _start_servers(self) -> None:
        path, logs, ports = self.directory.path, self.directory.logs, self.ports
        self.postgres = EmbeddedPostgres(self.children, path / "postgres", logs, ports.postgres)
        self.kafka = EmbeddedKafka(
            self.children,
            path / "kafka",
            logs,
            java=self.java,
            jars=self.jars,
            port=ports.kafka,
            controller_port=ports.kafka_controller,
        )
        has_database = await asyncio.to_thread(self.postgres.is_there)
        if not self._restores:
            refuse_parts(path, has_database=has_database)
        elif not has_database:
            begin_restore(path)
        self.progress("starting Kafka and PostgreSQL")
        await together(self._start_server("Kafka", self.kafka), self._start_server("PostgreSQL", self.postgres))

    async def _start_server(self, name: str, server: EmbeddedKafka | EmbeddedPostgres) -> None:
        await server.start()
        self.progress(f"{name} answers on port {server.port}")

    async def _stop_servers(self) -> None:
        self.progress("stopping Kafka and PostgreSQL")
        await asyncio.gather(self.kafka.stop(), self.postgres.stop())

    @property
    def kafka_bootstrap(self) -> str:
        return self.kafka.bootstrap

    @property
    def postgres_dsn(self) -> str:
        return self.postgres.dsn()

    @property
    def postgres_dsn_file(self) -> Path:
        return self.postgres.dsn_file

    def postgres_dsn_of(self, database: str) -> str:
        return self.postgres.dsn(database)

    async def kill_kafka(self) -> None:
        """kill -9; `start_kafka` continues on the same data and port."""
        await self.kafka.kill()

    async def start_kafka(self) -> Child:
        return await self._start_again(self.kafka)

    async def kill_postgres(self) -> None:
        """kill -9 of the server and its backends; `start_postgres` continues on the same data and port."""
        await self.postgres.kill()

    async def start_postgres(self) -> Child:
        return await self._start_again(self.postgres)

    async def _start_again(self, server: EmbeddedKafka | EmbeddedPostgres) -> Child:
        """Raises CannotRun, or OSError where the disk takes nothing, and leaves none running then."""
        try:
            child = await server.start()
            self.write_state()
        except (CannotRun, OSError):
            await server.kill()
            raise
        return child

    def _run_state(self) -> RunState:
        return replace(super()._run_state(), kafka_jars=str(self.jars), java=str(self.java))

    def _running_children(self) -> dict[str, Child | None]:
        return {"kafka": self.kafka.child, "postgres": self.postgres.child, **super()._running_children()}


class GivenInfrastructure(Installation):
    """Services on a Kafka and a PostgreSQL that are somebody else's, and are left running."""

    def __init__(
        self,
        data_dir: Path,
        *,
        kafka: str,
        postgres: str,
        ports: Ports | None = None,
        progress: Tell = quiet,
        rest_host: str = HOST,
    ) -> None:
        super().__init__(data_dir, ports=ports, progress=progress, rest_host=rest_host)
        self._kafka = kafka
        self._postgres = postgres

    async def _prepare(self) -> None:
        """Nothing is its own."""

    async def _start_servers(self) -> None:
        write_private(self.postgres_dsn_file, self._postgres)

    async def _stop_servers(self) -> None:
        """They are somebody else's."""

    @property
    def kafka_bootstrap(self) -> str:
        return self._kafka

    @property
    def postgres_dsn(self) -> str:
        return self._postgres

    @property
    def postgres_dsn_file(self) -> Path:
        return self.directory.path / "postgres.dsn"
