"""A PostgreSQL server as a child process: initdb, start, ready check, the ways to end it."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from loanloop.runtime.children import Child, Children, Command
from loanloop.runtime.data_directory import write_private
from loanloop.runtime.logs import new_log, why_ended
from loanloop.runtime.ports import HOST
from loanloop.runtime.postgres_account import PostgresHome, postgres_home, server_account
from loanloop.runtime.problems import CannotRun

USER = "loanloop"
DATABASE = "loanloop"
READY_WITHIN_S = 60
MIB = 2**20
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] %a ",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """One server on one data folder; `start` continues where it was."""

    def __init__(self, children: Children, folder: Path, logs: Path, port: int) -> None:
        self._children = children
        self._folder = folder
        self._log = logs / "postgres.log"
        self._log_start = 0
        self.port = port
        self.child: Child | None = None

    @property
    def dsn_file(self) -> Path:
        return self._folder / "dsn"

    @property
    def password_file(self) -> Path:
        return self._folder / "password"

    def dsn(self, database: str = DATABASE) -> str:
        password = self.password_file.read_text().strip()
        return f"postgresql://{USER}:{quote(password)}@{HOST}:{self.port}/{database}"

    def _home(self) -> PostgresHome:
        return postgres_home(server_account(), self._folder)

    def is_there(self) -> bool:
        """Whether it has a data folder to go on with."""
        return self._folder.exists() and _is_whole(self._home())

    async def start(self) -> Child:
        """Returns when the server takes connections and the database is there. Raises CannotRun."""
        home = await asyncio.to_thread(self._home)
        if not _is_whole(home):
            await self._initialise(home)
        await self._check_version(home)
        await asyncio.to_thread(_forget_dead_postmaster, home.data / "postmaster.pid")
        self._log_start = new_log(self._log)
        self.child = await self._children.start(
            self._command(home, "postgres", "-D", str(home.data), *self._settings())
        )
        await self._ready(self.child, home.data / "postmaster.pid")
        await self._create_database()
        write_private(self.dsn_file, self.dsn())
        return self.child

    def running(self) -> Child:
        if self.child is None:
            raise CannotRun("It was not started.")
        return self.child

    async def kill(self) -> None:
        """kill -9 of the server and its backends."""
        if self.child:
            await self._children.kill(self.child)

    async def stop(self) -> None:
        """The fast shutdown: it doesn't wait for clients."""
        if self.child:
            await self._children.stop(self.child, within_s=20)

    def _settings(self) -> list[str]:
        buffers = f"{shared_buffers_mib(psutil.virtual_memory().total // MIB)}MB"
        settings = SETTINGS | {"port": str(self.port), "shared_buffers": buffers}
        return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]

    def _command(self, home: PostgresHome, program: str, *arguments: str) -> Command:
        return Command(
            argv=[*home.account.prefix, str(home.binaries / program), *arguments],
            log=self._log,
            cwd=home.data.parent,
            env={"LC_ALL": "C", "TZ": "UTC"},
            stop_signal=signal.SIGINT,
            account=home.account.ids,
        )

    async def _initialise(self, home: PostgresHome) -> None:
        """initdb beside the final folder, then a rename: a data folder is whole or not there."""
        for draft in home.data.parent.glob("new-*"):
            await asyncio.to_thread(shutil.rmtree, draft)
        draft = home.data.parent / f"new-{secrets.token_hex(4)}"
        password = secrets.token_urlsafe(24)
        self._folder.mkdir(exist_ok=True, mode=0o700)
        write_private(self.password_file, password)
        with _password_for(home, password) as password_file:
            child = await self._children.start(self._command(home, "initdb", *_initdb_arguments(draft, password_file)))
            if await child.wait() != 0:
                raise CannotRun(f"PostgreSQL could not make its data folder ({self._reason()}); see {self._log}.")
        draft.rename(home.data)

    async def _check_version(self, home: PostgresHome) -> None:
        made_by = (home.data / "PG_VERSION").read_text().strip()
        process = await asyncio.create_subprocess_exec(
            home.binaries / "postgres", "--version", stdout=asyncio.subprocess.PIPE
        )
        ours = (await process.communicate())[0].decode().split()[-1].split(".")[0]
        if made_by != ours:
            raise CannotRun(
                f"{home.data} was made by PostgreSQL {made_by} and this is PostgreSQL {ours}: "
                "dump it with the old version, or name another folder with --data-dir."
            )

    async def _ready(self, child: Child, pid_file: Path) -> None:
        for _ in range(READY_WITHIN_S * 20):
            if not child.is_running:
                raise CannotRun(f"PostgreSQL ended at its start ({self._reason()}); see {self._log}.")
            if _says_ready(pid_file, child.pid):
                return
            await asyncio.sleep(0.05)
        raise CannotRun(f"PostgreSQL was not ready after {READY_WITHIN_S} s; see {self._log}.")

    def _reason(self) -> str:
        return why_ended(self._log, self._log_start)

    async def _create_database(self) -> None:
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()


def shared_buffers_mib(memory_mib: int) -> int:
    """An eighth of the machine's memory, within bounds; taken as tables grow, not at the start.

    Keys of loans and events lie all over their indexes: a decision that does not find its pages here is twice as dear.
    """
    return min(max(memory_mib // 8, 128), 1024)


def _initdb_arguments(data: Path, password_file: Path) -> tuple[str, ...]:
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    return ("-D", str(data), "-U", USER, "--auth=scram-sha-256", f"--pwfile={password_file}", *locale)


def _is_whole(home: PostgresHome) -> bool:
    return (home.data / "PG_VERSION").exists()


def _says_ready(pid_file: Path, pid: int) -> bool:
    """After a kill -9 the file still says `ready`, but with the pid of the dead."""
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _forget_dead_postmaster(pid_file: Path) -> None:
    """The pid in a stale file may belong to some other program by now, which PostgreSQL takes for a living server."""
    try:
        process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        if process.name() == "postgres":
            process.wait(timeout=10)
    except (FileNotFoundError, psutil.NoSuchProcess):
        return
    except (ValueError, IndexError):
        pass  # a power loss or a full disk left no pid in it, and PostgreSQL refuses to start beside an empty one
    except psutil.TimeoutExpired as error:
        raise CannotRun(
            f"A PostgreSQL server (process {error.pid}) still runs on {pid_file.parent}: stop it first."
        ) from error
    pid_file.unlink(missing_ok=True)


@contextlib.contextmanager
def _password_for(home: PostgresHome, password: str) -> Iterator[Path]:
    """A file that the server's account can read, for initdb alone."""
    path = home.data.parent / "initial-password"
    write_private(path, password)
    try:
        if home.account.ids:
            os.chown(path, *home.account.ids)
        yield path
    finally:
        path.unlink()
