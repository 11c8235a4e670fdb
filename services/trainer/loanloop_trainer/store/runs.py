"""Training runs: made with their rows frozen, claimed by one trainer, kept alive by a heartbeat, ended once.

Every statement of a claimed run names its owner, so that a trainer that lost a run cannot write to it any more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import Connection, Pool

from loanloop_trainer.domain.trigger import Decision, Situation, Train
from loanloop_trainer.store.alerts import give_up, raise_alert
from loanloop_trainer.store.freeze import freeze_rows
from loanloop_trainer.store.situation import count_labels, fetch_as_of, fetch_situation

MAX_CRASHES = 3


@dataclass(frozen=True)
class ClaimedRun:
    run_id: UUID
    trigger: str
    crashes: int


class RunStore:
    def __init__(self, pool: Pool, portfolio: Portfolio) -> None:
        self._pool = pool
        self._portfolio = portfolio

    async def fetch_situation(self) -> Situation:
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            return await self._situation(connection)

    async def create_run(self, decide: Callable[[Situation], Decision], *, seed: int) -> UUID | None:
        """Decides again under the lock that all who make runs take, so that two trainers start one run."""
        async with self._pool.acquire() as connection, connection.transaction():
            await _lock_runs(connection)
            decision = decide(await self._situation(connection))
            if not isinstance(decision, Train):
                return None
            return await self._insert(connection, decision, seed=seed, requested_by="trainer")

    async def request_run(self, *, seed: int, requested_by: str) -> UUID | None:
        """A training that an operator asks for; None while another is under way."""
        async with self._pool.acquire() as connection, connection.transaction():
            await _lock_runs(connection)
            if (await self._situation(connection)).run_is_open:
                return None
            return await self._insert(connection, Train("manual"), seed=seed, requested_by=requested_by)

    async def claim_run(self, owner: str, *, stale_after_s: float) -> ClaimedRun | None:
        """The queued run, or a running one whose heartbeat has stopped: that counts as a crash."""
        row = await self._pool.fetchrow(
            """
            UPDATE loan_data.training_runs
            SET state = 'running', owner = $1, heartbeat_at = now(), started_at = coalesce(started_at, now()),
                crashes = crashes + CASE state WHEN 'running' THEN 1 ELSE 0 END
            WHERE state = 'queued' OR (state = 'running' AND heartbeat_at < now() - $2::interval)
            RETURNING run_id, trigger, crashes
            """,
            owner,
            timedelta(seconds=stale_after_s),
        )
        return ClaimedRun(*row) if row else None

    async def release_run(self, run_id: UUID, owner: str) -> None:
        """Leaves the run to whoever claims it next, its checkpoint kept."""
        await self._pool.execute(
            """
            UPDATE loan_data.training_runs SET state = 'queued', owner = NULL
            WHERE run_id = $1 AND owner = $2 AND state = 'running'
            """,
            run_id,
            owner,
        )

    async def record_crash(self, run_id: UUID, owner: str, error: str) -> int | None:
        """The number of crashes so far; None when the run is not this owner's any more."""
        crashes: int | None = await self._pool.fetchval(
            """
            UPDATE loan_data.training_runs SET state = 'queued', owner = NULL, crashes = crashes + 1, error = $3
            WHERE run_id = $1 AND owner = $2 AND state = 'running'
            RETURNING crashes
            """,
            run_id,
            owner,
            error,
        )
        return crashes

    async def fail_run(self, run_id: UUID, owner: str | None, error: str) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await _fail(connection, run_id, owner, error)

    async def give_up(self, breach_id: int) -> bool:
        """Raises the alert; False when it has been raised before."""
        async with self._pool.acquire() as connection, connection.transaction():
            return await give_up(connection, breach_id)

    async def _situation(self, connection: Connection) -> Situation:
        return await fetch_situation(
            connection, slot=self._portfolio.name, min_outcomes=self._portfolio.policy.min_outcomes
        )

    async def _insert(self, connection: Connection, train: Train, *, seed: int, requested_by: str) -> UUID:
        as_of = await fetch_as_of(connection, self._portfolio.policy.min_outcomes)
        run_id: UUID = await connection.fetchval(
            """
            INSERT INTO loan_data.training_runs
                (trigger, breach_id, attempt, requested_by, portfolio, as_of, labels_total, seed, hyperparameters)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            RETURNING run_id
            """,
            train.trigger, train.breach_id, train.attempt, requested_by, self._portfolio.name, as_of,
            await count_labels(connection, as_of), seed, self._portfolio.model.model_dump(mode="json"),
        )  # fmt: skip
        problem = await freeze_rows(connection, run_id, as_of, self._portfolio.policy)
        if problem is not None:
            await _fail(connection, run_id, None, problem)
        return run_id


async def _lock_runs(connection: Connection) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('loan_data.training_runs'))")


async def _fail(connection: Connection, run_id: UUID, owner: str | None, error: str) -> None:
    row: Any = await connection.fetchrow(
        """
        UPDATE loan_data.training_runs
        SET state = 'failed', error = $3, finished_at = clock_timestamp(), checkpoint = NULL
        WHERE run_id = $1 AND owner IS NOT DISTINCT FROM $2 AND state IN ('queued', 'running')
        RETURNING trigger, breach_id, attempt, labels_total, crashes
        """,
        run_id,
        owner,
        error,
    )
    if row is not None:
        details = {"run_id": str(run_id), **dict(row)}
        await raise_alert(connection, "training_failed", run_id, f"Training failed: {error}", details)
