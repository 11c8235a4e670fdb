"""An installation for the tests of backups: rows, a model and offsets, and the commands run on it."""

import asyncio
import contextlib
import signal
import uuid
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from loanloop.backups.taking import Source, back_up
from loanloop.runtime.installation import quiet
from loanloop_common.settings import KafkaSettings

from tests.integration.cli.world import LOANLOOP, NO_ENVIRONMENT, WIDE, Answer, loanloop
from tests.support.eventually import eventually
from tests.support.infrastructure import Backend

BEGIN = "INSERT INTO loan_data.installation (portfolio, schema_hash) VALUES ('sba', $1)"
MODEL = b"bytes of a bundle\\\n\t\x00"
FILL = """
    INSERT INTO loan_data.raw_data (event_id, topic, kafka_partition, kafka_offset, loan_id, occurred_at, payload)
    SELECT gen_random_uuid(), 'loan.received', 0, i, E'loan\\t\\\\N\\n' || i, now(), convert_to(md5(i::text), 'UTF8')
    FROM generate_series(1, $1) AS i
"""
ADD_MODEL = """
    WITH run AS (
        INSERT INTO loan_data.training_runs (trigger, portfolio, state, seed)
        VALUES ('manual', 'sba', 'succeeded', 0) RETURNING run_id
    )
    INSERT INTO loan_data.model_metadata
        (version, number, run_id, portfolio, schema_hash, train_from, train_to, n_rows, hyperparameters, metrics,
         manifest, bundle, bundle_sha256)
    SELECT 'v' || $1::integer, $1, run_id, 'sba', '', now(), now(), 0, '{}', '{}', '{}', $2::bytea, sha256($3::bytea)
    FROM run
"""

# Of three loans one was decided and one is of the past; an outcome came before its loan.
ADD_UNDECIDED = """
    INSERT INTO loan_data.processed_data (loan_id, event_id, occurred_at, features, is_history) VALUES
        ('waiting', gen_random_uuid(), now(), '{}', false), ('past', gen_random_uuid(), now(), '{}', true),
        ('decided', '0b9d5f5e-6f0e-4c1c-9d0e-2f6f0a3f1c01', now(), '{}', false), ('outcome', NULL, NULL, NULL, NULL);
    INSERT INTO loan_data.decision_keys (event_id, decision_id, payload_sha256)
    VALUES ('0b9d5f5e-6f0e-4c1c-9d0e-2f6f0a3f1c01', gen_random_uuid(), '');
"""


@dataclass
class Site:
    infrastructure: Backend
    dsn: str
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        return {
            "LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": self.infrastructure.kafka_bootstrap,
            "LOANLOOP_POSTGRES__DSN": self.dsn,
            "LOANLOOP_PORTFOLIO": "sba",
        }

    async def run(self, *arguments: str, **settings: str) -> Answer:
        return await loanloop(*arguments, data_dir=self.folder / "nothing", **self.settings | settings)

    async def back_up(self, *, dsn: str | None = None, keep: int | None = None) -> Path:
        kafka = KafkaSettings(bootstrap_servers=self.infrastructure.kafka_bootstrap)
        source = Source(kafka=kafka, dsn=dsn or self.dsn, portfolio="sba")
        return (await back_up(source, self.folder / "backups", keep=keep, tell=quiet)).path

    async def execute(self, statement: str, *arguments: object, dsn: str | None = None) -> None:
        connection = await asyncpg.connect(dsn or self.dsn)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    async def content(self, table: str, *, dsn: str) -> list[str]:
        connection = await asyncpg.connect(dsn)
        try:
            rows = await connection.fetch(f"SELECT t::text AS row FROM loan_data.{table} AS t ORDER BY 1")
        finally:
            await connection.close()
        return [row["row"] for row in rows]

    @contextlib.asynccontextmanager
    async def empty_database(self) -> AsyncIterator[str]:
        name = f"empty_{uuid.uuid4().hex[:8]}"
        await self.execute(f"CREATE DATABASE {name}")
        yield self.infrastructure.postgres_dsn_of(name)
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def restore(self, backup: Path, dsn: str) -> Answer:
        return await self.run("restore", str(backup), LOANLOOP_POSTGRES__DSN=dsn)

    async def commit(self, group: str, offsets: dict[TopicPartition, int]) -> None:
        bootstrap = self.infrastructure.kafka_bootstrap
        async with AIOKafkaConsumer(group_id=group, bootstrap_servers=bootstrap, enable_auto_commit=False) as consumer:
            consumer.assign(list(offsets))
            await consumer.commit(offsets)

    async def committed(self, group: str, *partitions: TopicPartition) -> list[int | None]:
        bootstrap = self.infrastructure.kafka_bootstrap
        async with AIOKafkaConsumer(group_id=group, bootstrap_servers=bootstrap, enable_auto_commit=False) as consumer:
            return [await consumer.committed(one) for one in partitions]

    async def killed_once(
        self, *arguments: str, when: object, by: signal.Signals = signal.SIGKILL, **settings: str
    ) -> None:
        process = await asyncio.create_subprocess_exec(
            LOANLOOP, *arguments, env=NO_ENVIRONMENT | WIDE | self.settings | settings, stdout=PIPE, stderr=PIPE
        )
        try:
            await eventually(when, within_s=60, every_s=0.01)  # type: ignore[call-overload]
            assert process.returncode is None, "it was over too soon to be killed"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(by)
            await process.communicate()
