"""Kafka and PostgreSQL in containers of the official images, on ports of the host that are chosen beforehand.

Variables and folders are those that the images' documentation names; the servers' settings those of the embedded ones.
"""

import abc
import asyncio
import secrets
import threading
from pathlib import Path
from typing import cast
from urllib.parse import quote

import asyncpg
from docker.errors import DockerException
from docker.models.containers import Container
from loanloop_common.errors import in_one_line
from loanloop_common.postgres import UNREACHABLE
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer, Reaper

from loanloop.runtime import kafka as embedded_kafka
from loanloop.runtime import postgres as embedded_postgres
from loanloop.runtime.logs import why_ended
from loanloop.runtime.problems import CannotRun
from loanloop.testing import images

READY_WITHIN_S = 120
_CLIENTS, _BROKERS, _CONTROLLER = 9092, 19092, 9093
_POSTGRES_PORT = 5432
# Of the image itself: it listens where Docker publishes, and on the socket that its entrypoint uses.
_SET_BY_THE_IMAGE = ("listen_addresses", "unix_socket_directories")


_STARTING_REAPER = threading.Lock()


class Server(abc.ABC):
    """One server in one container; after `kill` a second `start` goes on with the same data, on the same port."""

    def __init__(self, container: DockerContainer, log: Path) -> None:
        self._container = container
        self._log = log
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it answers. Raises CannotRun."""
        try:
            self._starting = asyncio.create_task(asyncio.to_thread(self._start))
            await asyncio.shield(self._starting)
        except (DockerException, OSError) as error:
            why = in_one_line(error)
            raise CannotRun(f"A container of {self._container.image} cannot be started: {why}") from error
        for _ in range(READY_WITHIN_S * 10):
            if await self.answers():
                return
            await asyncio.to_thread(self._raise_if_ended)
            await asyncio.sleep(0.1)
        raise CannotRun(f"{self._container.image} was not ready after {READY_WITHIN_S} s; see {self._log}.")

    @abc.abstractmethod
    async def answers(self) -> bool: ...

    async def kill(self) -> None:
        """kill -9 of the server; returns when it is gone."""
        await asyncio.to_thread(self._kill)

    async def remove(self) -> None:
        """With its data; what it said is kept in the log. A start that was given up goes on in its thread till here."""
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._container._container is not None:
            await asyncio.to_thread(self._remove)

    @property
    def _wrapped(self) -> Container:
        return cast("Container", self._container.get_wrapped_container())

    def _start(self) -> None:
        if self._container._container is not None:
            self._wrapped.start()
            return
        with _STARTING_REAPER:  # of two threads that found no reaper, each would start one under the same name
            if not testcontainers_config.ryuk_disabled:
                _start_reaper()
        self._container.start()

    def _kill(self) -> None:
        self._wrapped.kill("SIGKILL")
        self._wrapped.wait()

    def _remove(self) -> None:
        self._keep_log()
        self._container.stop()

    def _raise_if_ended(self) -> None:
        self._wrapped.reload()
        if self._wrapped.status == "exited":
            self._keep_log()
            why = why_ended(self._log, 0)
            raise CannotRun(f"{self._container.image} ended at its start ({why}); see {self._log}.")

    def _keep_log(self) -> None:
        self._log.write_bytes(self._wrapped.logs())


def _start_reaper() -> None:
    """Raises CannotRun."""
    try:
        Reaper.get_instance()
    except (DockerException, OSError) as error:
        raise CannotRun(
            f"The container of {testcontainers_config.ryuk_image}, which removes the others of a killed process, "
            f"cannot be started: {in_one_line(error)}. Name its image in RYUK_CONTAINER_IMAGE, or do without it by "
            "TESTCONTAINERS_RYUK_DISABLED=true."
        ) from error


class KafkaServer(Server):
    """testcontainers' own KafkaContainer is made for another image."""

    def __init__(self, host: str, port: int, log: Path) -> None:
        self._host, self._port = host, port
        container = DockerContainer(images.KAFKA).with_bind_ports(_CLIENTS, port)
        for name, value in _kafka_settings(host, port).items():
            container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        container.with_env("KAFKA_HEAP_OPTS", "-Xms128m -Xmx384m")
        super().__init__(container, log)

    @property
    def bootstrap(self) -> str:
        return f"{self._host}:{self._port}"

    async def answers(self) -> bool:
        return await embedded_kafka.answers(self._host, self._port)


def _kafka_settings(host: str, port: int) -> dict[str, str]:
    """The broker finds itself on a listener of its own: the host's address need not mean it inside the container."""
    itself = f"INTERNAL://localhost:{_BROKERS}"
    return embedded_kafka.SETTINGS | {
        "listeners": f"PLAINTEXT://0.0.0.0:{_CLIENTS},{itself},CONTROLLER://localhost:{_CONTROLLER}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port},{itself}",
        "inter.broker.listener.name": "INTERNAL",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"1@localhost:{_CONTROLLER}",
        "log.dirs": "/var/lib/kafka/data",
    }


class PostgresServer(Server):
    """testcontainers' own PostgresContainer waits at its first start alone, and imports SQLAlchemy for that."""

    def __init__(self, host: str, port: int, log: Path) -> None:
        self._host, self._port, self._password = host, port, secrets.token_urlsafe(24)
        user, database = embedded_postgres.USER, embedded_postgres.DATABASE
        container = DockerContainer(images.POSTGRES).with_bind_ports(_POSTGRES_PORT, port)
        container.with_envs(POSTGRES_USER=user, POSTGRES_PASSWORD=self._password, POSTGRES_DB=database)
        # Where postgres:18 keeps it by itself; earlier ones had another folder.
        container.with_env("PGDATA", "/var/lib/postgresql/18/docker")
        container.with_kwargs(shm_size="256m")  # Docker's 64 MiB are little for parallel queries
        container.with_command(["postgres", *_postgres_settings()])
        super().__init__(container, log)

    def dsn(self, database: str = embedded_postgres.DATABASE) -> str:
        user, password = embedded_postgres.USER, quote(self._password)
        return f"postgresql://{user}:{password}@{self._host}:{self._port}/{database}"

    async def answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.dsn(), timeout=5)
        except (*UNREACHABLE, asyncpg.PostgresError):
            return False
        await connection.close()
        return True


def _postgres_settings() -> list[str]:
    settings = {name: value for name, value in embedded_postgres.SETTINGS.items() if name not in _SET_BY_THE_IMAGE}
    return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
