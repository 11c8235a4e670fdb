"""Training runs: made with their rows frozen, claimed by one trainer, kept alive by a heartbeat, ended once.

Every statement of a claimed run names its owner, so that a trainer that lost a run cannot write to it any more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from loanloop_common.event_time import fetch_as_of
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import Connection, Pool

from loanloop_trainer.domain.ports import ClaimedRun
from loanloop_trainer.domain.search_space import hyperparameters_for
from loanloop_trainer.domain.trigger import MAX_CRASHES, Decision, Situation, Train
from loanloop_trainer.store.alerts import give_up
from loanloop_trainer.store.failures import fail_run
from loanloop_trainer.store.freeze import freeze_rows
from loanloop_trainer.store.situation import count_labels, fetch_situation
from loanloop_trainer.store.tunings import fetch_found

SELECT_FACTS = """
    SELECT run_id, state, phase, progress, n_rows, error, version FROM loan_data.training_runs
    WHERE run_id = $1
"""

CLAIM = """
    UPDATE loan_data.training_runs
    SET state = 'running', owner = $1, heartbeat_at = now(), started_at = coalesce(started_at, now()),
        crashes = crashes + CASE state WHEN 'running' THEN 1 ELSE 0 END
    WHERE state = 'queued' OR (state = 'running' AND heartbeat_at < now() - $2::interval)
    RETURNING run_id, trigger, crashes
"""

RELEASE = """
    UPDATE loan_data.training_runs SET state = 'queued', owner = NULL
    WHERE run_id = $1 AND owner = $2 AND state = 'running'
"""

RECORD_CRASH = """
    UPDATE loan_data.training_runs SET state = 'queued', owner = NULL, crashes = crashes + 1, error = $3
    WHERE run_id = $1 AND owner = $2 AND state = 'running'
    RETURNING crashes
"""

INSERT_RUN = """
    INSERT INTO loan_data.training_runs
        (trigger, breach_id, attempt, requested_by, portfolio, as_of, labels_total, seed, hyperparameters,
         hyperparameters_from)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    RETURNING run_id
"""

LOCK_RUNS = "SELECT pg_advisory_xact_lock(hashtext('loan_data.training_runs'))"


@dataclass(frozen=True)
class RunFacts:
    """A run as an operator sees it."""

    run_id: UUID
    state: str
    phase: str | None
    progress: dict[str, Any]
    n_rows: int | None
    error: str | None
    version: str | None


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

    async def fetch_facts(self, run_id: UUID) -> RunFacts:
        row = await self._pool.fetchrow(SELECT_FACTS, run_id)
        if row is None:
            raise LookupError(f"there is no run {run_id}")
        return RunFacts(*row)

    async def claim_run(self, owner: str, *, stale_after_s: float) -> ClaimedRun | None:
        """The queued run, or a running one whose heartbeat has stopped: that counts as a crash."""
        row = await self._pool.fetchrow(CLAIM, owner, timedelta(seconds=stale_after_s))
        return ClaimedRun(*row) if row else None

    async def release_run(self, run_id: UUID, owner: str) -> None:
        """Leaves the run to whoever claims it next, its checkpoint kept."""
        await self._pool.execute(RELEASE, run_id, owner)

    async def record_crash(self, run_id: UUID, owner: str, error: str) -> None:
        """Queues the run again, or fails it at the last crash; nothing if it is not this owner's any more."""
        async with self._pool.acquire() as connection, connection.transaction():
            crashes = await connection.fetchval(RECORD_CRASH, run_id, owner, error)
            if crashes is not None and crashes >= MAX_CRASHES:
                await fail_run(connection, run_id, None, _after_crashes(crashes, error))

    async def fail_crashed(self, run: ClaimedRun, owner: str) -> None:
        """Ends a claimed run whose former owners have all died."""
        async with self._pool.acquire() as connection, connection.transaction():
            await fail_run(connection, run.run_id, owner, _after_crashes(run.crashes, "its heartbeat stopped"))

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
        hyperparameters = hyperparameters_for(self._portfolio, await fetch_found(connection, self._portfolio.name))
        run_id: UUID = await connection.fetchval(
            INSERT_RUN,
            train.trigger, train.breach_id, train.attempt, requested_by, self._portfolio.name, as_of,
            await count_labels(connection, as_of), seed, hyperparameters.config.model_dump(mode="json"),
            hyperparameters.source,
        )  # fmt: skip
        problem = await freeze_rows(connection, run_id, as_of, self._portfolio.policy, hyperparameters.config)
        if problem is not None:
            await fail_run(connection, run_id, None, problem)
        return run_id


async def _lock_runs(connection: Connection) -> None:
    await connection.execute(LOCK_RUNS)


def _after_crashes(crashes: int, error: str) -> str:
    return f"it crashed {crashes} times, the last time because {error}; the trainer's log has more."
