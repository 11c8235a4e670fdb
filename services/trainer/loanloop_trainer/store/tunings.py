"""Searches for hyperparameters and their trials; the newest finished one is what trainings use."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from loanloop_common.errors import LoanloopError
from loanloop_common.postgres import Connection, Pool

from loanloop_trainer.domain.search_space import Found, Trial
from loanloop_trainer.store.freeze import Window

# It ends with the session: a killed search leaves no lock behind.
LOCK = "SELECT pg_try_advisory_lock(hashtext('loan_data.tunings'))"
UNLOCK = "SELECT pg_advisory_unlock(hashtext('loan_data.tunings'))"

SELECT_FOUND = """
    SELECT tuning_id, schema_hash, base, best FROM loan_data.tunings
    WHERE portfolio = $1 AND finished_at IS NOT NULL AND forgotten_at IS NULL
    ORDER BY tuning_id DESC
    LIMIT 1
"""

SELECT_NEWEST = """
    SELECT tuning_id, schema_hash, source, base, space, seed, as_of, window_from, gate_from, loans_sha256
    FROM loan_data.tunings
    WHERE portfolio = $1 AND forgotten_at IS NULL
    ORDER BY tuning_id DESC
    LIMIT 1
"""

IS_FINISHED = "SELECT finished_at IS NOT NULL FROM loan_data.tunings WHERE tuning_id = $1"

INSERT = """
    INSERT INTO loan_data.tunings
        (portfolio, schema_hash, source, base, space, seed, as_of, window_from, gate_from, n_rows, loans_sha256,
         requested_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    RETURNING tuning_id
"""

SELECT_TRIALS = """
    SELECT number, state, hyperparameters, scores, took_s FROM loan_data.tuning_trials
    WHERE tuning_id = $1
    ORDER BY number
"""

INSERT_TRIAL = """
    INSERT INTO loan_data.tuning_trials (tuning_id, number, state, hyperparameters, scores, took_s)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING
"""

FINISH = """
    UPDATE loan_data.tunings SET best_trial = $2, best = $3, score = $4, finished_at = now()
    WHERE tuning_id = $1 AND finished_at IS NULL
"""

FORGET = """
    UPDATE loan_data.tunings SET forgotten_at = now()
    WHERE portfolio = $1 AND forgotten_at IS NULL
    RETURNING tuning_id
"""


class SearchUnderWay(LoanloopError):
    """Another process searches on this database."""

    def __init__(self) -> None:
        super().__init__("another `loanloop tune` searches on this database already")


@dataclass(frozen=True)
class Tuning:
    """What a search is made for; one that goes on must have been made for the same. `window`: None for a file."""

    schema_hash: str
    source: str
    base: dict[str, Any]
    space: dict[str, Any]
    seed: int
    window: Window | None
    loans_sha256: bytes


async def fetch_found(connection: Connection, portfolio: str) -> Found | None:
    row = await connection.fetchrow(SELECT_FOUND, portfolio)
    return Found(*row) if row else None


@contextlib.asynccontextmanager
async def only_search(pool: Pool) -> AsyncIterator[None]:
    """Raises SearchUnderWay."""
    async with pool.acquire() as connection:
        if not await connection.fetchval(LOCK):
            raise SearchUnderWay
        try:
            yield
        finally:
            if not connection.is_closed():
                await connection.fetchval(UNLOCK)


class TuningStore:
    def __init__(self, pool: Pool, portfolio: str) -> None:
        self._pool = pool
        self._portfolio = portfolio

    async def fetch_unfinished(self) -> tuple[int, Tuning] | None:
        """The newest search, where it has not come to its end."""
        row = await self._pool.fetchrow(SELECT_NEWEST, self._portfolio)
        if row is None or await self._pool.fetchval(IS_FINISHED, row["tuning_id"]):
            return None
        window = Window(row["as_of"], row["window_from"], row["gate_from"]) if row["as_of"] else None
        return row["tuning_id"], Tuning(
            row["schema_hash"], row["source"], row["base"], row["space"], row["seed"], window, row["loans_sha256"]
        )

    async def begin(self, tuning: Tuning, *, n_rows: int, requested_by: str) -> int:
        window = tuning.window
        bounds = (window.as_of, window.first, window.gate_from) if window else (None, None, None)
        tuning_id: int = await self._pool.fetchval(
            INSERT,
            self._portfolio, tuning.schema_hash, tuning.source, tuning.base, tuning.space, tuning.seed, *bounds,
            n_rows, tuning.loans_sha256, requested_by,
        )  # fmt: skip
        return tuning_id

    async def fetch_trials(self, tuning_id: int) -> list[Trial]:
        rows = await self._pool.fetch(SELECT_TRIALS, tuning_id)
        return [
            Trial(row["number"], row["state"], row["hyperparameters"], tuple(row["scores"]), row["took_s"])
            for row in rows
        ]

    async def add_trial(self, tuning_id: int, trial: Trial) -> None:
        scores = list(trial.scores)
        await self._pool.execute(INSERT_TRIAL, tuning_id, trial.number, trial.state, trial.values, scores, trial.took_s)

    async def finish(self, tuning_id: int, best: Trial) -> None:
        await self._pool.execute(FINISH, tuning_id, best.number, best.values, best.score)

    async def forget(self) -> list[int]:
        """From now on trainings use the portfolio file; returns the searches that they would have used, or gone on."""
        return [row["tuning_id"] for row in await self._pool.fetch(FORGET, self._portfolio)]
