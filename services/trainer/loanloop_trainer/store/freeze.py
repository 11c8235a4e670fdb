"""Which loans a run learns from, and their labels as they are now."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from loanloop_common.portfolio import Policy
from loanloop_common.postgres import Connection

from loanloop_trainer.domain.window import gate_size, shortage

SELECT_WINDOW = """
    SELECT newest.newest - make_interval(months => $2) AS window_from, count(*) AS n_eligible
    FROM (SELECT max(occurred_at) AS newest FROM loan_data.processed_data WHERE counts_at <= $1) newest
    JOIN loan_data.processed_data p
        ON p.counts_at <= $1 AND p.occurred_at > newest.newest - make_interval(months => $2)
    GROUP BY newest.newest
"""

# Whole instants go to one side: the gate judges what occurred after the newest loan frozen here.
SELECT_GATE_FROM = """
    SELECT occurred_at FROM loan_data.processed_data
    WHERE counts_at <= $1
    ORDER BY occurred_at DESC
    OFFSET $2 LIMIT 1
"""

COUNT_WINDOW = """
    SELECT count(*) FROM loan_data.processed_data WHERE counts_at <= $1 AND occurred_at > $2 AND occurred_at < $3
"""

FREEZE = """
    WITH eligible AS (
        SELECT loan_id, defaulted, occurred_at FROM loan_data.processed_data
        WHERE counts_at <= $2 AND occurred_at > $3 AND occurred_at < $4
    ), frozen AS (
        INSERT INTO loan_data.training_rows (run_id, loan_id, defaulted)
        SELECT $1, loan_id, defaulted FROM eligible
    )
    UPDATE loan_data.training_runs r
    SET window_from = e.first, window_to = e.last, n_rows = e.n
    FROM (
        SELECT min(occurred_at) AS first, max(occurred_at) AS last, count(*) AS n,
            count(*) FILTER (WHERE defaulted) AS n_defaulted
        FROM eligible
    ) e
    WHERE r.run_id = $1
    RETURNING e.n, e.n_defaulted
"""


@dataclass(frozen=True)
class Window:
    """Loans whose labels count at `as_of` and that occurred after `first` and before `gate_from`, both left out."""

    as_of: datetime
    first: datetime
    gate_from: datetime


async def fetch_window(connection: Connection, as_of: datetime | None, policy: Policy) -> Window | None:
    """What a training learns from now: the newest months without the gate's share. None where no label counts yet."""
    found = await connection.fetchrow(SELECT_WINDOW, as_of, policy.training_window_months)
    if as_of is None or found is None:
        return None
    gate_from = await connection.fetchval(SELECT_GATE_FROM, as_of, max(gate_size(found["n_eligible"], policy) - 1, 0))
    return Window(as_of, found["window_from"], gate_from)


async def count_window(connection: Connection, window: Window) -> int:
    n: int = await connection.fetchval(COUNT_WINDOW, window.as_of, window.first, window.gate_from)
    return n


async def freeze_rows(connection: Connection, run_id: UUID, as_of: datetime | None, policy: Policy) -> str | None:
    """Freezes the window, in the caller's transaction; returns why it is too little, if so."""
    window = await fetch_window(connection, as_of, policy)
    if window is None:
        return shortage(0, 0)
    frozen = await connection.fetchrow(FREEZE, run_id, window.as_of, window.first, window.gate_from)
    assert frozen is not None, "the run was inserted in this transaction"
    return shortage(frozen["n"], frozen["n_defaulted"])
