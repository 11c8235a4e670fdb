"""What every installation has, wherever its Kafka and PostgreSQL are: folder, lock, supervisor, services, run.json."""

import abc
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from loanloop_common.portfolio import Portfolio

from loanloop.runtime.begun import Begun, begun_with
from loanloop.runtime.callers_paths import absolute_paths
from loanloop.runtime.children import Child, Children, Command
from loanloop.runtime.data_directory import DataDirectory, RunState, now
from loanloop.runtime.logs import new_log
from loanloop.runtime.ports import HOST, AssignedPorts, Ports, assign_ports
from loanloop.runtime.rest import rest_url_at
from loanloop.telling import Tell

STOP_SERVICE_WITHIN_S = 40
DEFAULT_PORTFOLIO = "sba"
PAGE, MIRROR = "page", "mlflow"


def source_of(asked: str) -> str:
    """A preset by its name, a file by its absolute path."""
    return str(Path(asked).absolute()) if Path(asked).is_file() else asked


def quiet(_: str) -> None: ...


class Installation(abc.ABC):
    """`async with` starts it and, at the end, stops all it started. Raises CannotRun.

    Subclasses say where Kafka and PostgreSQL are, and start them if they are their own.
    """

    ports: AssignedPorts
    children: Children
    portfolio: str
    begun: Begun | None

    def __init__(
        self, data_dir: Path, *, ports: Ports | None = None, progress: Tell = quiet, rest_host: str = HOST
    ) -> None:
        self.directory = DataDirectory(data_dir)
        self.progress = progress
        self.rest_host = rest_host
        self._asked_ports = ports or Ports()
        self._services: dict[str, Child] = {}
        self._state: RunState | None = None
        self._exit = contextlib.AsyncExitStack()

    @property
    @abc.abstractmethod
    def kafka_bootstrap(self) -> str: ...

    @property
    @abc.abstractmethod
    def postgres_dsn(self) -> str: ...

    @property
    @abc.abstractmethod
    def postgres_dsn_file(self) -> Path: ...

    @property
    def rest_url(self) -> str:
        return rest_url_at(self.rest_host, self.ports.rest)

    @property
    def page_url(self) -> str:
        return f"http://{HOST}:{self.ports.page}"

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
        await self._prepare()
        if self.directory.read_run() is None:  # a port that is taken leaves no folder behind
            assign_ports(self._asked_ports, None, rest_host=self.rest_host)
        lock = await self._exit.enter_async_context(self.directory.locked())
        earlier = self.directory.read_run()
        self.ports = assign_ports(self._asked_ports, earlier.ports if earlier else None, rest_host=self.rest_host)
        self.children = await Children.supervised(keep_open=[lock])
        self._exit.push_async_callback(self.children.close)
        self._exit.push_async_callback(self._stop_servers)
        await self._start_servers()
        self._exit.push_async_callback(self.stop_services)
        self.portfolio = (earlier and earlier.portfolio) or DEFAULT_PORTFOLIO
        self.begun = earlier.begun if earlier else None
        self._state = self._run_state()
        self.write_state()

    @abc.abstractmethod
    async def _prepare(self) -> None:
        """What can be looked for and downloaded before the folder is touched."""

    @abc.abstractmethod
    async def _start_servers(self) -> None:
        """Starts what is the installation's own."""

    @abc.abstractmethod
    async def _stop_servers(self) -> None:
        """Stops what `_start_servers` started, or began to."""

    async def start_service(self, name: str, *, instance: str | None = None, **env: str) -> Child:
        """Starts `python -m loanloop_NAME.app` on this Kafka and PostgreSQL; `env` adds to or replaces its settings.

        `instance` tells replicas apart. It is not restarted when it ends; `keeping.keep_running` does that.
        """
        instance = instance or name
        return await self._start_program(instance, f"loanloop_{name}.app", env=self.service_settings(instance) | env)

    async def start_page(self) -> Child:
        """Starts `loanloop page` on this installation; stopped with the services."""
        where = ("--data-dir", str(self.directory.path), "--host", HOST, "--port", str(self.ports.page))
        return await self._start_program(PAGE, "loanloop", PAGE, *where, env={"PYTHONUNBUFFERED": "1"})

    async def start_mirror(self) -> Child:
        """Starts `loanloop mlflow` on this installation, to the server that MLFLOW_TRACKING_URI names."""
        where = ("--data-dir", str(self.directory.path))
        return await self._start_program(MIRROR, "loanloop", MIRROR, *where, env={"PYTHONUNBUFFERED": "1"})

    async def _start_program(self, instance: str, module: str, *options: str, env: Mapping[str, str]) -> Child:
        log = self.log_of(instance)
        new_log(log)
        argv = [sys.executable, "-m", module, *options]
        paths = absolute_paths(os.environ)  # noqa: TID251 - handed down
        command = Command(argv=argv, log=log, cwd=self.directory.path, env=paths | dict(env))
        child = await self.children.start(command)
        self._services[instance] = child
        try:
            self.write_state()
        except OSError:
            await self.kill_service(instance)
            raise
        return child

    def service_settings(self, instance: str) -> dict[str, str]:
        return {
            "LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": self.kafka_bootstrap,
            "LOANLOOP_TELEMETRY__DATA_FOLDER": str(self.directory.path),
            "LOANLOOP_POSTGRES__DSN": self.postgres_dsn,
            "LOANLOOP_PREDICTOR__HOST": self.rest_host,
            "LOANLOOP_PREDICTOR__PORT": str(self.ports.rest),
            "LOANLOOP_INSTANCE_ID": instance,
            "PYTHONUNBUFFERED": "1",
        }

    def choose_portfolio(self, source: str) -> None:
        """What the services get, and the next run if it does not name another."""
        self.portfolio = source
        self.write_state()

    def remember(self, portfolio: Portfolio) -> None:
        """The folder was begun with it: all services have accepted it."""
        self.begun = begun_with(portfolio, self.portfolio)
        self.write_state()

    def service(self, instance: str) -> Child:
        return self._services[instance]

    def log_of(self, instance: str) -> Path:
        return self.directory.logs / f"{instance}.log"

    async def kill_service(self, instance: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Sends the signal and waits for the end; returns the exit code, negative for a signal."""
        child = self._services.pop(instance)
        self.children.send_signal(child, number)
        return await child.wait()

    async def stop_services(self) -> None:
        """Politely, all at once; kill -9 for those that take longer than STOP_SERVICE_WITHIN_S."""
        services, self._services = self._services, {}
        await asyncio.gather(
            *(self.children.stop(child, within_s=STOP_SERVICE_WITHIN_S) for child in services.values())
        )

    def _run_state(self) -> RunState:
        return RunState(
            pid=os.getpid(),
            started_at=now(),
            ports=self.ports,
            kafka_bootstrap=self.kafka_bootstrap,
            postgres_dsn_file=str(self.postgres_dsn_file),
            rest_url=self.rest_url,
            logs=str(self.directory.logs),
        )

    def _running_children(self) -> dict[str, Child | None]:
        return dict(self._services)

    def write_state(self) -> None:
        if self._state is None:
            return
        pids = {name: child.pid for name, child in self._running_children().items() if child and child.is_running}
        self.directory.write_run(
            replace(
                self._state,
                pids=pids | {"supervisor": self.children.supervisor_pid},
                page_url=self.page_url if PAGE in self._services else "",
                portfolio=self.portfolio,
                begun=self.begun,
            )
        )
