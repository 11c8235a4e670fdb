"""An installation as an operator has it, on which the commands of docs/runbooks are run as they stand."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.errors import KafkaError
from loanloop.runtime.data_directory import DataDirectory, RunState
from loanloop_common.errors import Unavailable
from loanloop_common.events import Topic
from loanloop_common.kafka import make_broker, publish_batch, stop_broker
from loanloop_common.postgres import create_pool
from loanloop_common.settings import KafkaSettings

from tests.e2e.world import QUICK, Loan, loans
from tests.support.eventually import eventually

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
UP = "loanloop up\n"
N_HISTORY = 1700


def blocks_of(name: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", (RUNBOOKS / f"{name}.md").read_text(), flags=re.DOTALL)


@dataclass
class Installed:
    """What an operator has: a data folder on which `loanloop up` runs, backups, and a shell."""

    folder: Path
    sent: list[Loan] = field(default_factory=list)
    up: Process | None = None
    said: bytes = b""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        here = {
            "LOANLOOP_DATA_DIR": str(self.data),
            "LOANLOOP_BACKUP_FOLDER": str(self.folder / "backups"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # noqa: TID251 - the operator's shell
            "COLUMNS": "120",
        }
        return dict(os.environ) | QUICK | here  # noqa: TID251 - handed down

    @property
    def run(self) -> RunState:
        run = DataDirectory(self.data).read_run()
        assert run is not None
        return run

    async def start_up(self, *options: str) -> None:
        command = ("loanloop", "up", *options)
        self.up = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, env=self.environment, stdout=PIPE, stderr=STDOUT
        )
        assert self.up.stdout
        async for line in self.up.stdout:
            self.said += line
            if b"Ctrl-C stops" in line:
                return
        raise AssertionError(self.said.decode())

    async def follow(self, name: str) -> str:
        """The commands of the runbook, one block after the other; what they said."""
        said = ""
        for block in blocks_of(name):
            if block == UP:
                await self.start_up()
            else:
                said += await self.shell(block)
        return said

    async def shell(self, block: str) -> str:
        script = f"set -eu -o pipefail\n{blocks_of('README')[0]}{block}"
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script, env=self.environment, cwd=self.folder, stdout=PIPE, stderr=STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), 200)
        assert process.returncode == 0, f"{block}\n{said.decode()}"
        return said.decode()

    async def send(self, topic: Topic, events: list[dict[str, object]]) -> None:
        broker = make_broker(KafkaSettings(bootstrap_servers=self.run.kafka_bootstrap), service="test")
        await broker.connect()
        try:
            await publish_batch(broker, topic, [(str(e["loan_id"]).encode(), json.dumps(e).encode()) for e in events])
        finally:
            await stop_broker(broker)

    async def send_new(self, n: int) -> list[Loan]:
        new = loans(n, first=N_HISTORY + len(self.sent))
        self.sent += new
        await self.send(Topic.LOAN_RECEIVED, [loan.received for loan in new])
        return new

    async def value(self, query: str, *arguments: object) -> object:
        pool = await create_pool(self.run.postgres_dsn(), application_name="test", max_size=1)
        try:
            return await pool.fetchval(query, *arguments)
        finally:
            await pool.close()

    async def send_until_taken(self, events: list[dict[str, object]]) -> None:
        async def taken() -> bool:
            try:
                await self.send(Topic.LOAN_RECEIVED, events)
            except (Unavailable, KafkaError):
                return False
            return True

        await eventually(taken, within_s=300, every_s=1)

    async def stored(self, n: int) -> bool:
        return await self.value("SELECT count(*) FROM loan_data.event_keys") == n

    def logs_say(self, words: str) -> bool:
        logs = [path for path in (self.data / "logs").glob("*.log") if not path.name.endswith(".1.log")]
        return any(words in path.read_text(errors="replace") for path in logs)

    async def end(self) -> None:
        if self.up is not None:
            with contextlib.suppress(ProcessLookupError):
                self.up.send_signal(signal.SIGINT)
            rest, _ = await self.up.communicate()
            sys.stdout.write((self.said + rest).decode())

    async def has_all(self) -> None:
        """Every loan that was sent is stored and decided, once."""

        async def counts() -> bool:
            n = len(self.sent)
            found = await self.value(
                "SELECT ARRAY[(SELECT count(*) FROM loan_data.event_keys), (SELECT count(*) FROM loan_data.raw_data),"
                " (SELECT count(*) FROM loan_data.decision_keys), (SELECT count(*) FROM loan_data.predictions)]"
            )
            assert found == [N_HISTORY + n, N_HISTORY + n, n, n]
            return True

        await eventually(counts, within_s=120, every_s=1)
