"""Alerts of the trainer: a row and its event, once for each fact."""

from collections.abc import Mapping
from typing import Any, Literal

from loanloop_common import alerts
from loanloop_common.alerts import Alert
from loanloop_common.postgres import Connection

SERVICE = "trainer"

SELECT_LAST_VERDICT = """
    SELECT r.version AS challenger, b.version AS champion, b.value AS breach_value, b.upper AS breach_upper,
        b.opened_on, c.value AS challenger_value, c.metrics AS challenger_metrics, c.n_loans, c.reason,
        o.value AS champion_value, o.metrics AS champion_metrics,
        (SELECT count(*) FROM loan_data.training_runs WHERE breach_id = $1 AND state = 'succeeded') AS attempts
    FROM loan_data.breaches b
    JOIN loan_data.training_runs r ON r.breach_id = b.breach_id AND r.state = 'succeeded'
    JOIN loan_data.model_performance c
        ON c.kind = 'gate' AND c.role = 'challenger' AND c.version = r.version
    LEFT JOIN loan_data.model_performance o
        ON o.kind = 'gate' AND o.role = 'champion' AND o.version = c.opponent AND o.opponent = c.version
    WHERE b.breach_id = $1
    ORDER BY r.finished_at DESC, c.evaluated_at DESC
    LIMIT 1
"""


async def raise_alert(
    connection: Connection,
    kind: Literal["training_failed", "retraining_given_up"],
    fact: object,
    message: str,
    details: dict[str, Any],
) -> bool:
    """In the caller's transaction; False when the alert for this fact has been raised before."""
    alert = Alert(kind=kind, fact=fact, severity="critical", message=message, details=details)
    return await alerts.raise_alert(connection, alert, service=SERVICE)


async def give_up(connection: Connection, breach_id: int) -> bool:
    """One alert for the breach, with both models' figures from the last verdict."""
    verdict = await _fetch_last_verdict(connection, breach_id)
    details = {"breach_id": breach_id, **verdict, "opened_on": verdict["opened_on"].isoformat()}
    return await raise_alert(connection, "retraining_given_up", breach_id, _message_of(verdict), details)


async def _fetch_last_verdict(connection: Connection, breach_id: int) -> dict[str, Any]:
    row = await connection.fetchrow(SELECT_LAST_VERDICT, breach_id)
    if row is None:
        raise LookupError(f"breach {breach_id} has no rejected attempt to give up on")
    return dict(row)


def _message_of(verdict: Mapping[str, Any]) -> str:
    challenger, champion = verdict["challenger"], verdict["champion"]
    return (
        f"Retraining given up after {verdict['attempts']} attempts at the breach of {champion} "
        f"(since {verdict['opened_on']}): {challenger} was rejected, {verdict['reason']}. {champion} stays live; "
        f"`loanloop promote {challenger}` overrules."
    )
