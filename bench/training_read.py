"""How a training reads its frozen loans from PostgreSQL, beside a bare COPY of the same columns to nowhere.

Run as a program it reads one run's loans in a process of its own and prints seconds and memory:
`python -m bench.training_read DSN RUN_ID N_ROWS`.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pyarrow.parquet as pq
from loanloop_common.garbage_collection import spare_collector
from loanloop_common.postgres import Pool, create_pool
from loanloop_trainer.runner.loading import load_rows
from loanloop_trainer.store.claimed import Run

from bench.child_process import figures_of
from bench.installation import fresh_installation
from bench.memory import forget_peak, held_bytes, peak_bytes
from bench.workload import PORTFOLIO

REPETITIONS = 3
BARE = "SELECT occurred_at, defaulted, features FROM loan_data.processed_data"
COLUMNS = [
    "loan_id", "event_id", "occurred_at", "features", "is_history", "received_at", "matured_at", "defaulted",
    "known_at", "outcome_event_id", "outcome_occurred_at", "outcome_received_at",
]  # fmt: skip


def rows(n: int, path: Path) -> Iterator[tuple[Any, ...]]:
    """Of processed_data: the file's loans, again from its start where `n` is larger."""
    table = pq.read_table(path)
    columns = {name: table[name].to_pylist() for name in PORTFOLIO.features}
    approved, defaulted = table[PORTFOLIO.file.occurred_at].to_pylist(), table["defaulted"].to_pylist()
    now = datetime.now(UTC)
    for i in range(n):
        k = i % len(approved)
        occurred_at = datetime(approved[k].year, approved[k].month, approved[k].day, tzinfo=UTC)
        known_at, event_id = occurred_at + timedelta(days=30), UUID(int=i + 1)
        features = json.dumps({name: column[k] for name, column in columns.items()})
        yield (
            f"{i:09}", event_id, occurred_at, features, True, now, occurred_at, bool(defaulted[k]),
            known_at, event_id, known_at, now,
        )  # fmt: skip


async def stored(dsn: str, n: int, path: Path) -> UUID:
    """The run that froze all of them."""
    run_id = uuid4()
    connection = await asyncpg.connect(dsn)  # as the driver comes: the product has codecs of its own for json
    try:
        await connection.copy_records_to_table(
            "processed_data", schema_name="loan_data", columns=COLUMNS, records=rows(n, path), timeout=600
        )
        await connection.execute(
            "INSERT INTO loan_data.training_runs (run_id, trigger, portfolio, state, seed) "
            "VALUES ($1, 'manual', 'sba', 'queued', 1)",
            run_id,
        )
        await connection.execute(
            "INSERT INTO loan_data.training_rows (run_id, loan_id, defaulted) "
            "SELECT $1, loan_id, defaulted FROM loan_data.processed_data",
            run_id,
        )
        await connection.execute("ANALYZE loan_data.processed_data")
        await connection.execute("ANALYZE loan_data.training_rows")
    finally:
        await connection.close()
    return run_id


async def copied_s(pool: Pool) -> float:
    async def nowhere(_data: bytes) -> None:
        pass

    async with pool.acquire() as connection:
        started = time.perf_counter()
        await connection.copy_from_query(BARE, output=nowhere)
        return time.perf_counter() - started


async def measure(n: int, path: Path) -> dict[str, float]:
    """Medians over repetitions that take turns."""
    async with fresh_installation() as installation:
        run_id = await stored(installation.infrastructure.postgres_dsn, n, path)
        found: list[dict[str, float]] = []
        for _ in range(REPETITIONS):
            copy_s = await copied_s(installation.pool)
            dsn = installation.infrastructure.postgres_dsn
            found.append({"copy_s": copy_s, **await asyncio.to_thread(_read_apart, dsn, run_id, n)})
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def _read_apart(dsn: str, run_id: UUID, n: int) -> dict[str, float]:
    return figures_of([sys.executable, "-m", "bench.training_read", dsn, str(run_id), str(n)])


async def _read(dsn: str, run_id: UUID, n: int) -> None:
    pool = await create_pool(dsn, application_name="bench", max_size=2)
    now = datetime.now(UTC)
    run = Run(run_id, "manual", now, now, now, n, seed=1, hyperparameters={}, hyperparameters_from="", crashes=0)
    spare_collector()  # as the training's process does
    before = held_bytes()
    forget_peak()
    started = time.perf_counter()
    data = await load_rows(pool, None, run, PORTFOLIO)
    read_s = time.perf_counter() - started
    peak = peak_bytes()
    read_bytes = held_bytes() - before  # while `data` is still used below
    await pool.close()
    found = {
        "read_s": read_s, "peak_over_data": (peak - before) / read_bytes, "data_bytes_a_loan": read_bytes / len(data),
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(_read(sys.argv[1], UUID(sys.argv[2]), int(sys.argv[3])))
