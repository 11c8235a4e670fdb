"""The Kafka and PostgreSQL that integration and e2e tests run on, and the databases and topics made in them.

Fixtures, from tests/conftest.py (all of them async, in the session's one event loop):

- `infrastructure` (session, started at its first use): a `Backend`, below.
- `database`: the DSN of a fresh database with all migrations applied, for this test alone.
- `topics`: the bootstrap address after all topics were deleted and loanloop's own made anew, for tests that run
  services, whose topics and groups have fixed names.
- `topic_prefix`: a text to begin the names of one's own topics and groups with, for tests that need no `topics`.
- `own_infrastructure`: a backend for this test alone (3–4 s), for tests that break it.

A service on a test's own database:
`await infrastructure.start_service("ingest", LOANLOOP_POSTGRES__DSN=database, LOANLOOP_PORTFOLIO="sba")`,
its log: `infrastructure.log_of("ingest")`, its end: `await infrastructure.kill_service("ingest", signal.SIGKILL)`.
Services still running are stopped at the test's end.

LOANLOOP_TEST_BACKEND=embedded (the default) or containers (`make test-containers`): Kafka and PostgreSQL in containers
of the official images, the services as child processes as ever. What is marked `embedded` is about the embedded servers
themselves, or their tools, and is left out there; what is marked `containers` is left out elsewhere.
"""

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from loanloop.runtime.children import Child
from loanloop.runtime.infrastructure import EmbeddedInfrastructure
from loanloop.runtime.ports import ANY_FREE
from loanloop.runtime.problems import CannotRun
from loanloop_common.postgres import migrate

from tests.support.eventually import eventually

if TYPE_CHECKING:
    from loanloop.testing.infrastructure import ContainerInfrastructure

TEMPLATE = "loanloop_template"
BACKENDS = ("embedded", "containers")


class Backend(Protocol):
    """What a test may ask of its infrastructure, whatever runs it."""

    @property
    def kafka_bootstrap(self) -> str: ...
    @property
    def postgres_dsn(self) -> str: ...
    @property
    def rest_url(self) -> str: ...

    def postgres_dsn_of(self, database: str) -> str: ...
    def log_of(self, instance: str) -> Path: ...

    async def kill_kafka(self) -> None: ...
    async def start_kafka(self) -> object: ...
    async def kill_postgres(self) -> None: ...
    async def start_postgres(self) -> object: ...
    async def start_service(self, name: str, *, instance: str | None = None, **env: str) -> Child: ...
    async def kill_service(self, instance: str, number: Signals = Signals.SIGKILL) -> int: ...
    async def stop_services(self) -> None: ...


LAST_LINES = 40


def chosen_backend() -> str:
    return os.environ.get("LOANLOOP_TEST_BACKEND", "embedded")  # noqa: TID251 - the tests' own switch


def refusal() -> str | None:
    """Why nothing can be tested on the chosen backend, in one sentence."""
    backend = chosen_backend()
    if backend not in BACKENDS:
        return f"LOANLOOP_TEST_BACKEND={backend} is none of the backends {' and '.join(BACKENDS)}: choose one of them."
    if backend == "containers":
        from loanloop.testing.engine import require_engine

        try:
            require_engine()
        except CannotRun as problem:
            return f"{problem} LOANLOOP_TEST_BACKEND=embedded needs none."
    return None


@asynccontextmanager
async def running_backend() -> AsyncIterator[Backend]:
    """A backend of its own, on free ports and an empty folder that is removed at the end.

    What the logs say last is printed before: pytest shows it where a test has failed.
    """
    folder = Path(tempfile.mkdtemp(prefix="loanloop-test-"))
    try:
        async with _chosen_kind()(folder, ports=ANY_FREE) as infrastructure:
            yield infrastructure
    finally:
        for log in sorted((folder / "logs").glob("*.log")):
            last = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            sys.stdout.write("\n".join([f"{log.name} ends:", *last, ""]))
        shutil.rmtree(folder, ignore_errors=True)


def _chosen_kind() -> "type[EmbeddedInfrastructure | ContainerInfrastructure]":
    if chosen_backend() == "embedded":
        return EmbeddedInfrastructure
    from loanloop.testing.infrastructure import ContainerInfrastructure  # Docker's client takes a second to import

    return ContainerInfrastructure


async def make_template(backend: Backend) -> None:
    await _execute(backend, f"CREATE DATABASE {TEMPLATE}")
    await migrate(backend.postgres_dsn_of(TEMPLATE))


@asynccontextmanager
async def fresh_database(backend: Backend) -> AsyncIterator[str]:
    """The DSN of a copy of the migrated template; dropped at the end, whoever is still connected."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await _execute(backend, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    try:
        yield backend.postgres_dsn_of(name)
    finally:
        await _execute(backend, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _execute(backend: Backend, statement: str) -> None:
    connection = await asyncpg.connect(backend.postgres_dsn_of("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def delete_topics(bootstrap: str) -> None:
    """With a topic its groups' offsets go as well."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()

    async def users_topics() -> list[str]:
        return [name for name in await admin.list_topics() if not name.startswith("__")]

    async def are_gone() -> bool:
        return not await users_topics()

    try:
        if names := await users_topics():
            await admin.delete_topics(names)
        # Made anew before the broker has heard of its end, a topic acknowledges writes to the log that goes.
        await eventually(are_gone)
    finally:
        await admin.close()


def database_name(dsn: str) -> str:
    return urlsplit(dsn).path.lstrip("/")
