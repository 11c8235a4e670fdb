"""Which loans a run learns from, their labels as they are now, and which it sees without one."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from loanloop_common.portfolio import ModelConfig, Policy
from loanloop_common.postgres import Connection

from loanloop_trainer.domain.window import gate_size, shortage, unlabelled_at_most

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

COUNT_YOUNG = "SELECT count(*) FROM loan_data.processed_data WHERE counts_at IS NOT NULL AND matured_at > $1"

# None that occurred after the newest labelled one: the gate judges it, should its outcome be known by then.
SELECT_UNLABELLED = """
    SELECT loan_id FROM loan_data.processed_data
    WHERE (counts_at <= $1) IS NOT TRUE AND features IS NOT NULL AND occurred_at > $2 AND occurred_at <= (
        SELECT max(occurred_at) FROM loan_data.processed_data
        WHERE counts_at <= $1 AND occurred_at > $2 AND occurred_at < $3)
    ORDER BY occurred_at DESC, loan_id DESC
    LIMIT $4
"""

# One statement, so one snapshot: a label that is stored meanwhile makes no loan both or neither.
FREEZE = f"""
    WITH eligible AS (
        SELECT loan_id, defaulted, occurred_at FROM loan_data.processed_data
        WHERE counts_at <= $1 AND occurred_at > $2 AND occurred_at < $3
    ), unlabelled AS ({SELECT_UNLABELLED}), frozen AS (
        INSERT INTO loan_data.training_rows (run_id, loan_id, defaulted)
        SELECT $5::uuid, loan_id, defaulted FROM eligible
        UNION ALL
        SELECT $5, loan_id, NULL FROM unlabelled
    )
    UPDATE loan_data.training_runs r
    SET window_from = e.first, window_to = e.last, n_rows = e.n, n_unlabelled = (SELECT count(*) FROM unlabelled)
    FROM (
        SELECT min(occurred_at) AS first, max(occurred_at) AS last, count(*) AS n,
            count(*) FILTER (WHERE defaulted) AS n_defaulted
        FROM eligible
    ) e
    WHERE r.run_id = $5
    RETURNING e.n, e.n_defaulted
"""  # noqa: S608  # of constants alone


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


async def freeze_rows(
    connection: Connection, run_id: UUID, as_of: datetime | None, policy: Policy, config: ModelConfig
) -> str | None:
    """Freezes the window, in the caller's transaction; returns why it is too little, if so."""
    window = await fetch_window(connection, as_of, policy)
    if window is None:
        return await fetch_shortage(connection, as_of, policy)
    n_unlabelled = unlabelled_at_most(policy, config)
    frozen = await connection.fetchrow(FREEZE, window.as_of, window.first, window.gate_from, n_unlabelled, run_id)
    assert frozen is not None, "the run was inserted in this transaction"
    return await fetch_shortage(connection, as_of, policy, frozen["n"], frozen["n_defaulted"])


async def fetch_shortage(
    connection: Connection, as_of: datetime | None, policy: Policy, n_rows: int = 0, n_defaulted: int = 0
) -> str | None:
    """Why so many loans of the window are too few, if they are, with those that are labelled and too young to count."""
    if shortage(n_rows, n_defaulted) is None:
        return None
    n_young = await connection.fetchval(COUNT_YOUNG, as_of)
    return shortage(n_rows, n_defaulted, n_young=n_young, maturity_days=policy.maturity_days)
