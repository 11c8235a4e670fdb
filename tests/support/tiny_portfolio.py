"""A portfolio that a real model learns in seconds, and loans of it straight in the database."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from loanloop_common.postgres import Pool

FIRST_DAY = datetime(2005, 1, 1, tzinfo=UTC)
LOANS_A_DAY = 40
KNOWN_AFTER = timedelta(days=10)

_TINY = """
name = "tiny"
title = "Made-up loans for tests"

[features.purpose]
kind = "category"
nullable = true
example = "car"

[features.income]
kind = "number"
minimum = 0
maximum = 1000000
scale = "log"
example = 30000

[features.share]
kind = "number"
minimum = 0
maximum = 1
nullable = true
example = 0.5

[policy]
maturity_days = 0
metric = "roc_auc"
breach_below = 0.6
gate_at_least = 0.6
gate_min_loans = 100
min_outcomes = 30
first_labels = {first_labels}
new_labels = {new_labels}
breach_new_labels = {breach_new_labels}
cooldown_minutes = 0
max_unlabelled = {max_unlabelled}

[model]
kind = "{kind}"
trees = 40
d_model = 8
n_layers = 1
n_heads = 2
d_feedforward = 8
pretrain_epochs = 1
epochs = {epochs}
min_steps = 0
patience = {epochs}
batch_size = {batch_size}
learning_rate = {learning_rate}
"""


def write_tiny_portfolio(
    folder: Path,
    *,
    first_labels: int = 1500,
    new_labels: int = 1000,
    breach_new_labels: int = 200,
    max_unlabelled: int = 50_000,
    epochs: int = 2,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    kind: str = "tabtransformer",
) -> Path:
    path = folder / "tiny.toml"
    path.write_text(
        _TINY.format(
            first_labels=first_labels,
            new_labels=new_labels,
            breach_new_labels=breach_new_labels,
            max_unlabelled=max_unlabelled,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            kind=kind,
        )
    )
    return path


def make_loans(n: int, *, first: int = 0) -> list[tuple[Any, ...]]:
    """Rows of processed_data: loans number `first` to `first + n - 1`, the same whenever they are made."""
    return [_loan(number) for number in range(first, first + n)]


async def store_loans(pool: Pool, rows: Sequence[tuple[Any, ...]]) -> None:
    await pool.executemany(
        """
        INSERT INTO loan_data.processed_data
            (loan_id, event_id, occurred_at, features, is_history, received_at, matured_at,
             defaulted, known_at, outcome_event_id, outcome_occurred_at, outcome_received_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        rows,
    )


def _loan(number: int) -> tuple[Any, ...]:
    chance = random.Random(number)
    occurred_at = FIRST_DAY + timedelta(days=number // LOANS_A_DAY, minutes=number % LOANS_A_DAY)
    income, share = chance.randint(10_000, 100_000), chance.random()
    purpose = chance.choice(["car", "home", "shop", None])
    risk = 0.1 + 0.5 * (share > 0.6) + 0.3 * (purpose == "shop") + 0.1 * (income < 30_000)
    defaulted = chance.random() < risk
    known_at = occurred_at + KNOWN_AFTER
    event_id = UUID(int=number + 1)
    features = {"purpose": purpose, "income": income, "share": share}
    received_at = datetime(2026, 1, 1, tzinfo=UTC)
    return (
        f"loan-{number}", event_id, occurred_at, features, False, received_at, occurred_at,
        defaulted, known_at, event_id, known_at, received_at,
    )  # fmt: skip
