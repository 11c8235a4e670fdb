"""Breaches: one open for a version at most, opened and closed with their events."""

from datetime import timedelta

from loanloop_common.events import ModelEvaluated, Topic
from loanloop_common.outbox import enqueue
from loanloop_common.postgres import Connection

from loanloop_evaluator.domain.breach import Turn
from loanloop_evaluator.domain.clock import start_of
from loanloop_evaluator.store.deployments import SERVICE

IS_BREACH_OPEN = "SELECT EXISTS (SELECT FROM loan_data.breaches WHERE version = $1 AND closed_at IS NULL)"

REOPEN = """
    UPDATE loan_data.breaches
    SET closed_on = NULL, closed_at = NULL, closed_by = NULL, relapses = relapses + 1
    WHERE breach_id = (
        SELECT breach_id FROM loan_data.breaches
        WHERE version = $1 AND closed_by = 'recovery' AND closed_on >= $2::date - $3::int
        ORDER BY breach_id DESC
        LIMIT 1)
    RETURNING breach_id
"""

INSERT_BREACH = """
    INSERT INTO loan_data.breaches (version, opened_on, value, upper, n_loans)
    VALUES ($1, $2, $3, $4, $5)
    RETURNING breach_id
"""

RECOVER = """
    UPDATE loan_data.breaches SET closed_on = $2, closed_at = now(), closed_by = 'recovery'
    WHERE version = $1 AND closed_at IS NULL
    RETURNING breach_id
"""


async def has_open_breach(connection: Connection, version: str) -> bool:
    is_open: bool = await connection.fetchval(IS_BREACH_OPEN, version)
    return is_open


async def open_breach(connection: Connection, version: str, turn: Turn, *, relapse_days: int) -> int:
    """The breach's id: the last one goes on if it recovered no more than `relapse_days` ago (event time).

    The caller holds the slot's lock, and has seen that none is open.
    """
    breach_id: int | None = await connection.fetchval(REOPEN, version, turn.at.day, relapse_days)
    return breach_id if breach_id is not None else await _insert_breach(connection, version, turn)


async def _insert_breach(connection: Connection, version: str, turn: Turn) -> int:
    breach_id: int = await connection.fetchval(
        INSERT_BREACH, version, turn.at.day, turn.at.value, turn.at.upper, turn.at.n_loans
    )
    return breach_id


async def recover_breach(connection: Connection, version: str, turn: Turn) -> int | None:
    breach_id: int | None = await connection.fetchval(RECOVER, version, turn.at.day)
    return breach_id


async def announce_turn(
    connection: Connection, version: str, turn: Turn, *, breach_id: int | None, reason: str,
    metric: str, threshold: float, window_days: int,
) -> None:  # fmt: skip
    event = ModelEvaluated(
        occurred_at=start_of(turn.at.day + timedelta(days=1)),
        version=version,
        role="champion",
        verdict=turn.kind,
        reason=reason,
        metric="f1" if metric == "f1" else "roc_auc",
        value=turn.at.value,
        threshold=threshold,
        n_loans=turn.at.n_loans,
        metrics={"upper": turn.at.upper},
        window_from=start_of(turn.at.day - timedelta(days=window_days - 1)),
        window_to=start_of(turn.at.day + timedelta(days=1)),
        day=turn.at.day,
        breach_id=breach_id,
    )
    await enqueue(connection, service=SERVICE, topic=Topic.MODEL_EVALUATED, key=version, event=event)
