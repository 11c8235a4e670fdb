"""Predictor processes on a database and a broker, with models and deployments written as trainer and evaluator do."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from loanloop_common.bundle import unpack
from loanloop_common.events import LoanScored, ModelDeployed, Topic
from loanloop_common.kafka import Broker, publish_batch
from loanloop_common.postgres import Pool

from tests.support.eventually import eventually
from tests.support.infrastructure import Backend
from tests.support.loans import as_bytes
from tests.support.topics import committed, read_all

SLOT = "sba"
DAY = datetime(2006, 1, 1, tzinfo=UTC)


@dataclass
class World:
    infrastructure: Backend
    dsn: str
    pool: Pool
    broker: Broker

    async def start_predictor(self, instance: str = "predictor", **env: str) -> str:
        """Its URL, once it answers."""
        settings = {"LOANLOOP_POSTGRES__DSN": self.dsn, "LOANLOOP_PREDICTOR__PORT": "0", "LOANLOOP_PORTFOLIO": SLOT}
        await self.infrastructure.start_service("predictor", instance=instance, **settings, **env)
        url = await eventually(lambda: self._url_of(instance), within_s=30)
        assert url
        return url

    async def _url_of(self, instance: str) -> str | None:
        url: str | None = await self.pool.fetchval(
            "SELECT url FROM loan_data.service_instances WHERE instance_id = $1", instance
        )
        return url

    async def applied(self, instance: str = "predictor") -> int | None:
        seq: int | None = await self.pool.fetchval(
            "SELECT deployment_seq FROM loan_data.service_instances WHERE instance_id = $1", instance
        )
        return seq

    async def store_model(self, bundle: bytes, *, version: str | None = None) -> str:
        manifest = unpack(bundle).manifest
        version = version or manifest.version
        run_id = await self.pool.fetchval(
            "INSERT INTO loan_data.training_runs (trigger, portfolio, state, seed) "
            "VALUES ('manual', $1, 'succeeded', 1) RETURNING run_id",
            SLOT,
        )
        await self.pool.execute(
            """
            INSERT INTO loan_data.model_metadata
                (version, number, run_id, portfolio, schema_hash, train_from, train_to, n_rows, hyperparameters,
                 metrics, manifest, bundle, bundle_sha256)
            VALUES ($1, $2, $3, $4, $5, $6, $6, 400, '{}', $7, '{}', $8, $9)
            """,
            version,
            int(version[1:]),
            run_id,
            SLOT,
            manifest.schema_hash,
            DAY,
            {"f1": 0.8},
            bundle,
            hashlib.sha256(bundle).digest(),
        )
        return version

    async def deploy(self, version: str, seq: int, *, announce: bool = True) -> None:
        event = ModelDeployed(
            occurred_at=DAY,
            slot=SLOT,
            version=version,
            deployment_seq=seq,
            kind="deploy",
            pinned=False,
            previous=None,
            bundle_sha256="",
            actor="test",
            reason="test",
            deployed_at=DAY,
        )
        await self.pool.execute(
            "INSERT INTO loan_data.deployments (deployment_seq, slot, version, kind, actor, reason, event_id) "
            "VALUES ($1, $2, $3, 'deploy', 'test', 'test', $4)",
            seq,
            SLOT,
            version,
            uuid4(),
        )
        if announce:
            await self.announce(event)

    async def announce(self, event: ModelDeployed) -> None:
        await publish_batch(self.broker, Topic.MODEL_DEPLOYED, [(SLOT.encode(), event.model_dump_json().encode())])

    async def produce(self, loans: Iterable[dict[str, Any]]) -> None:
        await self.produce_raw([(loan["loan_id"].encode(), as_bytes(loan)) for loan in loans])

    async def produce_raw(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        await publish_batch(self.broker, Topic.LOAN_RECEIVED, messages)

    async def decisions(self) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.pool.fetch(
            "SELECT *, features::text AS text FROM loan_data.predictions ORDER BY loan_id"
        )
        return rows

    async def drop_decisions(self) -> None:
        """As an operator who keeps predictions for a while drops a month's partition; the keys stay."""
        partition = f"predictions_{datetime.now(UTC):%Y_%m}"
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(f"DROP TABLE loan_data.{partition}")
            await connection.execute("SELECT loan_data.ensure_partitions()")

    async def n_decided(self) -> int:
        n: int = await self.pool.fetchval("SELECT count(*) FROM loan_data.predictions")
        return n

    async def decided(self, n: int, *, within_s: float = 40) -> list[asyncpg.Record]:
        """The decisions, once there are `n` and the stream's offsets are committed."""

        async def all_there() -> bool:
            return await self.n_decided() == n

        await eventually(all_there, within_s=within_s)
        return await self.decisions()

    async def consumed(self, n: int, *, within_s: float = 40) -> None:
        async def so_far() -> bool:
            return await committed(self.infrastructure.kafka_bootstrap, "predictor", Topic.LOAN_RECEIVED) == n

        await eventually(so_far, within_s=within_s, every_s=0.3)

    async def scored(self) -> list[LoanScored]:
        records = await read_all(self.infrastructure.kafka_bootstrap, Topic.LOAN_SCORED)
        return [LoanScored.model_validate_json(record.value) for record in records]

    async def ids_published(self) -> Counter[str]:
        return Counter(str(event.event_id) for event in await self.scored())


async def predict(url: str, loan: dict[str, Any], **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        return await client.post("/predict", json=loan, **options)


async def get(url: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        return await client.get(path)
