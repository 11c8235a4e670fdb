"""Searches for hyperparameters and their trials; the newest finished one is what trainings use."""

from dataclasses import dataclass
from typing import Any

from loanloop_common.postgres import Connection, Pool

from loanloop_trainer.domain.search_space import Found, Trial
from loanloop_trainer.store.freeze import Window
from loanloop_trainer.store.only_search import OnlySearch, SearchForgotten, SearchTakenOver

SELECT_FOUND = """
    SELECT tuning_id, schema_hash, base, best FROM loan_data.tunings
    WHERE portfolio = $1 AND finished_at IS NOT NULL AND forgotten_at IS NULL
    ORDER BY tuning_id DESC
    LIMIT 1
"""

SELECT_NEWEST = """
    SELECT tuning_id, schema_hash, source, base, space, seed, as_of, window_from, gate_from, loans_sha256,
        finished_at
    FROM loan_data.tunings
    WHERE portfolio = $1 AND forgotten_at IS NULL
    ORDER BY tuning_id DESC
    LIMIT 1
"""

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

SELECT_STANDING = """
    SELECT forgotten_at IS NOT NULL AS forgotten, finished_at IS NOT NULL AS finished, best_trial, best,
        (SELECT count(*) FROM loan_data.tuning_trials t WHERE t.tuning_id = tunings.tuning_id) AS n_trials,
        (SELECT max(tuning_id) FROM loan_data.tunings n WHERE n.portfolio = tunings.portfolio) AS newest
    FROM loan_data.tunings
    WHERE tuning_id = $1
"""

INSERT_TRIAL = """
    WITH added AS (
        INSERT INTO loan_data.tuning_trials (tuning_id, number, state, hyperparameters, scores, took_s)
        SELECT tuning_id, $2, $3, $4, $5, $6 FROM loan_data.tunings
        WHERE tuning_id = $1 AND finished_at IS NULL
        ON CONFLICT DO NOTHING
        RETURNING number, state, hyperparameters, scores, took_s
    )
    SELECT number, state, hyperparameters, scores, took_s FROM added
    UNION ALL
    SELECT number, state, hyperparameters, scores, took_s FROM loan_data.tuning_trials
    WHERE tuning_id = $1 AND number = $2
"""

FINISH = """
    UPDATE loan_data.tunings SET best_trial = $2, best = $3, score = $4, finished_at = now()
    WHERE tuning_id = $1 AND finished_at IS NULL AND forgotten_at IS NULL
    RETURNING true
"""

FORGET = """
    UPDATE loan_data.tunings SET forgotten_at = now(), forgotten_by = $2
    WHERE portfolio = $1 AND forgotten_at IS NULL
    RETURNING tuning_id
"""


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


class TuningStore:
    """What is written of a search is written over `only`, and so by nobody who has lost the right to search."""

    def __init__(self, pool: Pool, portfolio: str, only: OnlySearch) -> None:
        self._pool = pool
        self._portfolio = portfolio
        self._only = only

    async def fetch_unfinished(self) -> tuple[int, Tuning] | None:
        """The newest search, where it has not come to its end."""
        row = await self._pool.fetchrow(SELECT_NEWEST, self._portfolio)
        if row is None or row["finished_at"] is not None:
            return None
        window = Window(row["as_of"], row["window_from"], row["gate_from"]) if row["as_of"] else None
        return row["tuning_id"], Tuning(
            row["schema_hash"], row["source"], row["base"], row["space"], row["seed"], window, row["loans_sha256"]
        )

    async def begin(self, tuning: Tuning, *, n_rows: int, requested_by: str) -> int:
        """Done again, it leaves an empty search behind, which a newer one follows at once."""
        window = tuning.window
        bounds = (window.as_of, window.first, window.gate_from) if window else (None, None, None)
        row = await self._only.fetchrow(
            INSERT,
            self._portfolio, tuning.schema_hash, tuning.source, tuning.base, tuning.space, tuning.seed, *bounds,
            n_rows, tuning.loans_sha256, requested_by,
        )  # fmt: skip
        tuning_id: int = row["tuning_id"]
        return tuning_id

    async def fetch_trials(self, tuning_id: int) -> list[Trial]:
        rows = await self._pool.fetch(SELECT_TRIALS, tuning_id)
        return [_trial(row) for row in rows]

    async def make_sure(self, tuning_id: int, n_trials: int) -> None:
        """That the search has not ended, that it has these trials and that nobody else searches.

        Raises SearchTakenOver or SearchForgotten.
        """
        row = await self._only.fetchrow(SELECT_STANDING, tuning_id)
        if row["forgotten"]:
            raise SearchForgotten
        if row["finished"] or (row["n_trials"], row["newest"]) != (n_trials, tuning_id):
            raise SearchTakenOver

    async def add_trial(self, tuning_id: int, trial: Trial) -> None:
        """Idempotent. Raises SearchTakenOver where another process has stored this trial, or ended the search."""
        scores = list(trial.scores)
        stored = await self._only.fetchrow(
            INSERT_TRIAL, tuning_id, trial.number, trial.state, trial.values, scores, trial.took_s
        )
        if stored is None or _trial(stored) != trial:
            raise SearchTakenOver

    async def finish(self, tuning_id: int, best: Trial) -> None:
        """Idempotent. Raises SearchForgotten, and SearchTakenOver where another process has stored another result."""
        if await self._only.fetchrow(FINISH, tuning_id, best.number, best.values, best.score):
            return
        row = await self._only.fetchrow(SELECT_STANDING, tuning_id)
        if row["forgotten"]:
            raise SearchForgotten
        if (row["best_trial"], row["best"]) != (best.number, best.values):
            raise SearchTakenOver


async def forget(pool: Pool, portfolio: str, forgotten_by: str) -> list[int]:
    """From now on trainings use the portfolio file; returns the searches that they would have used, or gone on."""
    return [row["tuning_id"] for row in await pool.fetch(FORGET, portfolio, forgotten_by)]


def _trial(row: Any) -> Trial:
    return Trial(row["number"], row["state"], row["hyperparameters"], tuple(row["scores"]), row["took_s"])
