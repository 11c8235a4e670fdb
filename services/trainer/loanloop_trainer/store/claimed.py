"""What the training process reads and writes of the run it works on, as long as the run is its owner's."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from loanloop_common.errors import LoanloopError
from loanloop_common.events import ModelTrained, Topic
from loanloop_common.outbox import enqueue
from loanloop_common.postgres import Connection, Pool

from loanloop_trainer.store.alerts import SERVICE
from loanloop_trainer.store.failures import fail_run

SELECT_RUN = """
    SELECT run_id, trigger, as_of, window_from, window_to, n_rows, seed, hyperparameters, hyperparameters_from,
        crashes, n_unlabelled
    FROM loan_data.training_runs
    WHERE run_id = $1 AND owner = $2 AND state = 'running'
"""

SELECT_CHECKPOINT = "SELECT checkpoint FROM loan_data.training_runs WHERE run_id = $1"

SELECT_NEXT_VERSION = "SELECT 'v' || coalesce(max(number), 0) + 1 FROM loan_data.model_metadata"

SAVE_CHECKPOINT = """
    UPDATE loan_data.training_runs SET checkpoint = $3, heartbeat_at = now()
    WHERE run_id = $1 AND owner = $2 AND state = 'running'
    RETURNING true
"""

BEAT = """
    UPDATE loan_data.training_runs SET heartbeat_at = now(), phase = $3, progress = $4
    WHERE run_id = $1 AND owner = $2 AND state = 'running'
    RETURNING true
"""

LOCK_RUN = """
    SELECT trigger, hyperparameters, state, owner, version FROM loan_data.training_runs
    WHERE run_id = $1
    FOR UPDATE
"""

INSERT_MODEL = """
    INSERT INTO loan_data.model_metadata
        (version, number, run_id, portfolio, schema_hash, train_from, train_to, n_rows,
         hyperparameters, metrics, manifest, bundle, bundle_sha256)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"""

# The checkpoint has done its work, and it is megabytes.
SUCCEED = """
    UPDATE loan_data.training_runs
    SET state = 'succeeded', version = $2, phase = 'done', heartbeat_at = now(),
        finished_at = clock_timestamp(), checkpoint = NULL, error = NULL
    WHERE run_id = $1
"""


class RunLost(LoanloopError):
    """The run belongs to another owner by now; this process must stop without writing anything."""

    def __init__(self, run_id: UUID) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} has been taken over or ended by another process")


@dataclass(frozen=True)
class Run:
    run_id: UUID
    trigger: Literal["labels", "breach", "manual"]
    as_of: datetime
    window_from: datetime
    window_to: datetime
    n_rows: int  # labelled ones
    seed: int
    hyperparameters: dict[str, Any]
    hyperparameters_from: str
    crashes: int
    n_unlabelled: int = 0

    @property
    def n_frozen(self) -> int:
        return self.n_rows + self.n_unlabelled


@dataclass(frozen=True)
class FinishedModel:
    """`train_to` is the last loan that was trained, validated or calibrated on."""

    version: str
    bundle: bytes
    sha256: bytes
    schema_hash: str
    portfolio: str
    train_from: datetime
    train_to: datetime
    n_rows: int
    metrics: dict[str, Any]
    manifest: dict[str, Any]


class ClaimedRunStore:
    """Every write raises RunLost when the run is not `owner`'s."""

    def __init__(self, pool: Pool, run_id: UUID, owner: str) -> None:
        self._pool = pool
        self._run_id = run_id
        self._owner = owner

    async def fetch_run(self) -> Run:
        row = await self._pool.fetchrow(SELECT_RUN, self._run_id, self._owner)
        return Run(*self._still_owned(row))

    async def fetch_checkpoint(self) -> bytes | None:
        checkpoint: bytes | None = await self._pool.fetchval(SELECT_CHECKPOINT, self._run_id)
        return checkpoint

    async def fetch_next_version(self) -> str:
        """It stays the next one as long as the run is this owner's: there is one open run at a time."""
        version: str = await self._pool.fetchval(SELECT_NEXT_VERSION)
        return version

    async def save_checkpoint(self, checkpoint: bytes) -> None:
        saved = await self._pool.fetchval(SAVE_CHECKPOINT, self._run_id, self._owner, checkpoint)
        self._still_owned(saved)

    async def beat(self, phase: str, progress: dict[str, Any]) -> None:
        alive = await self._pool.fetchval(BEAT, self._run_id, self._owner, phase, progress)
        self._still_owned(alive)

    async def finish(self, model: FinishedModel) -> str:
        """Stores the model, ends the run and says so: all or nothing. Idempotent."""
        async with self._pool.acquire() as connection, connection.transaction():
            run = await connection.fetchrow(LOCK_RUN, self._run_id)
            if run is not None and run["state"] == "succeeded":
                return str(run["version"])
            if run is None or (run["state"], run["owner"]) != ("running", self._owner):
                raise RunLost(self._run_id)
            await self._insert_model(connection, model, run["hyperparameters"])
            await self._succeed(connection, model.version)
            event = self._trained(model, run["trigger"])
            await enqueue(connection, service=SERVICE, topic=Topic.MODEL_TRAINED, key=model.version, event=event)
            return model.version

    async def fail(self, error: str) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            self._still_owned(await fail_run(connection, self._run_id, self._owner, error) or None)

    async def _insert_model(self, connection: Connection, model: FinishedModel, hyperparameters: Any) -> None:
        await connection.execute(
            INSERT_MODEL,
            model.version, int(model.version.removeprefix("v")), self._run_id, model.portfolio, model.schema_hash,
            model.train_from, model.train_to, model.n_rows, hyperparameters, model.metrics, model.manifest,
            model.bundle, model.sha256,
        )  # fmt: skip

    async def _succeed(self, connection: Connection, version: str) -> None:
        await connection.execute(SUCCEED, self._run_id, version)

    def _trained(self, model: FinishedModel, trigger: Any) -> ModelTrained:
        return ModelTrained(
            occurred_at=datetime.now(UTC),
            version=model.version,
            run_id=self._run_id,
            portfolio=model.portfolio,
            trigger=trigger,
            bundle_sha256=model.sha256.hex(),
            train_from=model.train_from,
            train_to=model.train_to,
            n_rows=model.n_rows,
        )

    def _still_owned(self, found: Any) -> Any:
        if found is None:
            raise RunLost(self._run_id)
        return found
