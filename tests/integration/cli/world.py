"""What a person at a terminal has: an installation that runs on a data folder, and the `loanloop` command."""

import asyncio
import contextlib
import hashlib
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from loanloop.runtime.data_directory import DataDirectory, RunState
from loanloop.runtime.ports import AssignedPorts
from loanloop_common.events import Topic

from tests.integration.ingest.world import World
from tests.support.topics import read_all

LOANLOOP = str(Path(sys.executable).with_name("loanloop"))
NO_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
# A long path of a temporary folder is not broken over two lines.
WIDE = {"COLUMNS": "400"}


@dataclass(frozen=True)
class Answer:
    code: int
    out: bytes
    err: str


def says_in_one_sentence(answer: Answer, *parts: str) -> None:
    assert (answer.code, answer.out) == (1, b"")
    assert answer.err.startswith("Error: "), answer.err
    assert answer.err.count("\n") == 1, answer.err
    assert all(part in answer.err for part in parts), answer.err


async def loanloop(*arguments: str, data_dir: Path, **settings: str) -> Answer:
    return await loanloop_given(None, *arguments, data_dir=data_dir, **settings)


async def loanloop_given(given: bytes | None, *arguments: str, data_dir: Path, **settings: str) -> Answer:
    process = await asyncio.create_subprocess_exec(
        LOANLOOP,
        *arguments,
        "--data-dir",
        str(data_dir),
        env=NO_ENVIRONMENT | WIDE | settings,
        stdin=None if given is None else PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate(given)
    return Answer(await process.wait(), out, err.decode())


@dataclass
class Operated(World):
    data_dir: Path

    async def dlq(self, *arguments: str, given: bytes | None = None) -> Answer:
        return await loanloop_given(given, "dlq", *arguments, data_dir=self.data_dir)

    async def refused_as(self, payload: bytes) -> list[str]:
        """The ids under which these bytes were refused, in that order."""
        rows = await self.pool.fetch(
            "SELECT topic, kafka_partition, kafka_offset FROM loan_data.rejected"
            " WHERE payload_sha256 = $1 ORDER BY rejected_at, kafka_offset",
            hashlib.sha256(payload).digest(),
        )
        return [":".join(map(str, row)) for row in rows]

    async def keys_of(self, payload: bytes) -> list[bytes | None]:
        """Of each time these bytes were sent."""
        records = await read_all(self.infrastructure.kafka_bootstrap, Topic.LOAN_RECEIVED)
        return [record.key for record in records if record.value == payload]

    async def settled(self) -> None:
        """Everything sent is stored or refused, and the books of ingest add up."""
        sent = await read_all(self.infrastructure.kafka_bootstrap, Topic.LOAN_RECEIVED)
        await self.consumed(len(sent))

    async def n_stored(self, loan_id: str) -> tuple[int, int]:
        """Its rows as received, and as the trainer reads them."""
        row = await self.pool.fetchrow(
            "SELECT (SELECT count(*) FROM loan_data.raw_data WHERE loan_id = $1),"
            " (SELECT count(*) FROM loan_data.processed_data WHERE loan_id = $1 AND features IS NOT NULL)",
            loan_id,
        )
        assert row is not None
        return row[0], row[1]


@contextlib.asynccontextmanager
async def running_on(folder: Path, *, kafka: str, dsn: str, portfolio: str = "sba") -> AsyncIterator[Path]:
    """The folder as `loanloop up` leaves it while it runs: locked, and run.json says where everything is."""
    directory = DataDirectory(folder)
    async with directory.locked():
        dsn_file = folder / "postgres.dsn"
        dsn_file.write_text(dsn)
        run = RunState(
            pid=0,
            started_at="2026-01-01T00:00:00+00:00",
            ports=AssignedPorts(kafka=0, kafka_controller=0, postgres=0, rest=0),
            kafka_bootstrap=kafka,
            postgres_dsn_file=str(dsn_file),
            rest_url="",
            logs=str(directory.logs),
            portfolio=portfolio,
        )
        directory.write_run(run)
        yield folder
