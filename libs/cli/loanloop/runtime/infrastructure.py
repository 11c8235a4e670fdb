"""Kafka, PostgreSQL and services of one data folder, real and embedded; what the command and the tests share."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from loanloop.runtime.children import Child, Children, Command
from loanloop.runtime.data_directory import DataDirectory, RunState, now
from loanloop.runtime.java import find_java
from loanloop.runtime.kafka import EmbeddedKafka
from loanloop.runtime.kafka_jars import kafka_jars
from loanloop.runtime.logs import new_log
from loanloop.runtime.ports import HOST, AssignedPorts, Ports, assign_ports
from loanloop.runtime.postgres import EmbeddedPostgres
from loanloop.runtime.settings import RuntimeSettings

STOP_SERVICE_WITHIN_S = 30

Progress = Callable[[str], None]


def _quiet(_: str) -> None: ...


class EmbeddedInfrastructure:
    """`async with EmbeddedInfrastructure(folder) as infra`: a broker and a database that nothing outlives.

    A second start on the same folder continues where the first one was. Raises CannotRun.
    """

    def __init__(self, data_dir: Path, *, ports: Ports | None = None, progress: Progress = _quiet) -> None:
        self.directory = DataDirectory(data_dir)
        self._asked_ports = ports or Ports()
        self._progress = progress
        self._services: dict[str, Child] = {}
        self._exit = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    async def _start(self) -> None:
        settings = RuntimeSettings()
        self.java = await asyncio.to_thread(find_java, settings.java_home)
        self.jars = await asyncio.to_thread(kafka_jars, settings, self._progress)
        lock = await self._exit.enter_async_context(self.directory.locked())
        earlier = self.directory.read_run()
        self.ports = assign_ports(self._asked_ports, earlier.ports if earlier else None)
        self._children = await Children.supervised(keep_open=[lock])
        self._exit.push_async_callback(self._children.close)
        self._make_servers(self.ports)
        self._exit.push_async_callback(self._stop_servers)
        self._progress("starting Kafka and PostgreSQL")
        async with asyncio.TaskGroup() as starts:
            starts.create_task(self.kafka.start())
            starts.create_task(self.postgres.start())
        self._exit.push_async_callback(self.stop_services)
        self._state = self._run_state()
        self._write_state()

    def _make_servers(self, ports: AssignedPorts) -> None:
        path, logs = self.directory.path, self.directory.logs
        self.postgres = EmbeddedPostgres(self._children, path / "postgres", logs, ports.postgres)
        self.kafka = EmbeddedKafka(
            self._children,
            path / "kafka",
            logs,
            java=self.java,
            jars=self.jars,
            port=ports.kafka,
            controller_port=ports.kafka_controller,
        )

    async def _stop_servers(self) -> None:
        self._progress("stopping Kafka and PostgreSQL")
        await asyncio.gather(self.kafka.stop(), self.postgres.stop())

    @property
    def kafka_bootstrap(self) -> str:
        return self.kafka.bootstrap

    @property
    def postgres_dsn(self) -> str:
        return self.postgres.dsn()

    def postgres_dsn_of(self, database: str) -> str:
        return self.postgres.dsn(database)

    @property
    def rest_url(self) -> str:
        return f"http://{HOST}:{self.ports.rest}"

    async def kill_kafka(self) -> None:
        """kill -9; `start_kafka` continues on the same data and port."""
        await self.kafka.kill()

    async def start_kafka(self) -> None:
        await self.kafka.start()
        self._write_state()

    async def kill_postgres(self) -> None:
        """kill -9 of the server and its backends; `start_postgres` continues on the same data and port."""
        await self.postgres.kill()

    async def start_postgres(self) -> None:
        await self.postgres.start()
        self._write_state()

    async def start_service(self, name: str, *, instance: str | None = None, **env: str) -> Child:
        """Starts `python -m loanloop_NAME.app` on this Kafka and PostgreSQL; `env` adds to or replaces its settings.

        `instance` tells replicas apart. It is not restarted when it ends; `services.keep_running` does that.
        """
        instance = instance or name
        log = self.directory.logs / f"{instance}.log"
        new_log(log)
        command = Command(
            argv=[sys.executable, "-m", f"loanloop_{name}.app"],
            log=log,
            cwd=self.directory.path,
            env=self.service_settings(instance) | env,
        )
        child = await self._children.start(command)
        self._services[instance] = child
        self._write_state()
        return child

    def service_settings(self, instance: str) -> dict[str, str]:
        return {
            "LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": self.kafka_bootstrap,
            "LOANLOOP_POSTGRES__DSN": self.postgres_dsn,
            "LOANLOOP_PREDICTOR__PORT": str(self.ports.rest),
            "LOANLOOP_INSTANCE_ID": instance,
            "PYTHONUNBUFFERED": "1",
        }

    def service(self, instance: str) -> Child:
        return self._services[instance]

    def log_of(self, instance: str) -> Path:
        return self.directory.logs / f"{instance}.log"

    async def kill_service(self, instance: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Sends the signal and waits for the end; returns the exit code, negative for a signal."""
        child = self._services.pop(instance)
        self._children.send_signal(child, number)
        return await child.wait()

    async def stop_services(self) -> None:
        """Politely, all at once."""
        services, self._services = self._services, {}
        await asyncio.gather(
            *(self._children.stop(child, within_s=STOP_SERVICE_WITHIN_S) for child in services.values())
        )

    def _run_state(self) -> RunState:
        return RunState(
            pid=os.getpid(),
            started_at=now(),
            ports=self.ports,
            kafka_bootstrap=self.kafka_bootstrap,
            postgres_dsn_file=str(self.postgres.dsn_file),
            rest_url=self.rest_url,
            logs=str(self.directory.logs),
            kafka_jars=str(self.jars),
            java=str(self.java),
        )

    def _write_state(self) -> None:
        children = {"kafka": self.kafka.child, "postgres": self.postgres.child, **self._services}
        pids = {name: child.pid for name, child in children.items() if child and child.is_running}
        self.directory.write_run(replace(self._state, pids=pids | {"supervisor": self._children.supervisor_pid}))
