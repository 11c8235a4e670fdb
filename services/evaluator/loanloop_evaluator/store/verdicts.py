"""A verdict with all that led to it: its rows, its event and, for a file that can't be read, its alert."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from loanloop_common.alerts import Alert, raise_alert
from loanloop_common.events import ModelEvaluated, Topic
from loanloop_common.outbox import enqueue
from loanloop_common.postgres import Connection

from loanloop_evaluator.domain.deployment import Live
from loanloop_evaluator.domain.gate import GateRule, Judged, Verdict
from loanloop_evaluator.store.deployments import SERVICE

IS_RECORDED = """
    SELECT EXISTS (
        SELECT FROM loan_data.model_performance
        WHERE kind = 'gate' AND role = 'challenger' AND version = $1 AND judged_seq = $2)
"""

UPSERT_VERDICT = """
    INSERT INTO loan_data.model_performance
        (kind, version, role, opponent, window_from, window_to, n_loans, tp, fp, tn, fn, f1, metrics,
         value, lower, upper, passed, reason, judged_seq, evaluated_at)
    VALUES ('gate', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
            clock_timestamp())
    ON CONFLICT (version, coalesce(opponent, ''), role) WHERE kind = 'gate' DO UPDATE SET
        window_from = excluded.window_from, window_to = excluded.window_to, n_loans = excluded.n_loans,
        tp = excluded.tp, fp = excluded.fp, tn = excluded.tn, fn = excluded.fn, f1 = excluded.f1,
        metrics = excluded.metrics, value = excluded.value, lower = excluded.lower, upper = excluded.upper,
        passed = excluded.passed, reason = excluded.reason, judged_seq = excluded.judged_seq,
        evaluated_at = excluded.evaluated_at
"""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with all that led to it. `judged_seq` is the deployment of the champion, 0 without one."""

    challenger: Judged
    champion: Judged | None
    opponent: str | None
    judged_seq: int
    verdict: Verdict
    window_from: datetime
    window_to: datetime
    as_of: datetime | None
    refused: bool = False

    @property
    def result(self) -> Literal["passed", "rejected", "refused"]:
        """`refused`: its file can't be read."""
        if self.refused:
            return "refused"
        return "passed" if self.verdict.passed else "rejected"


async def is_recorded(connection: Connection, judgement: Judgement) -> bool:
    """Whether the challenger has a verdict against the same deployment."""
    known: bool = await connection.fetchval(IS_RECORDED, judgement.challenger.version, judgement.judged_seq)
    return known


async def record_verdict(connection: Connection, judgement: Judgement, rule: GateRule) -> None:
    """In the caller's transaction."""
    await _upsert_row(connection, judgement, judgement.challenger, role="challenger")
    if judgement.champion is not None:
        await _upsert_row(connection, judgement, judgement.champion, role="champion")
    event = _evaluated(judgement, rule)
    await enqueue(connection, service=SERVICE, topic=Topic.MODEL_EVALUATED, key=event.version, event=event)
    if judgement.refused:
        await _alert_of_refusal(connection, judgement)


async def alert_of_unreadable_champion(connection: Connection, live: Live, challenger: str, reason: str) -> bool:
    """Once for a deployment; False where it has been said."""
    alert = Alert(
        kind="model_refused",
        fact=f"champion:{live.deployment_seq}",
        severity="critical",
        message=f"{reason}. {challenger} and later versions are not deployed without a comparison: "
        f"`loanloop promote {challenger}` overrules, `loanloop rollback` goes back",
        details={"version": live.version, "deployment_seq": live.deployment_seq, "challenger": challenger},
    )
    return await raise_alert(connection, alert, service=SERVICE)


async def _upsert_row(connection: Connection, judgement: Judgement, judged: Judged, *, role: str) -> None:
    is_challenger = role == "challenger"
    counts, bounds = judged.counts, judged.bounds
    as_of = judgement.as_of.isoformat() if judgement.as_of else None
    await connection.execute(
        UPSERT_VERDICT,
        judged.version, role, judgement.opponent if is_challenger else judgement.challenger.version,
        judgement.window_from, judgement.window_to, counts.n, counts.tp, counts.fp, counts.tn, counts.fn, counts.f1,
        judged.metrics | {"as_of": as_of},
        judged.value, bounds.lower if bounds else None, bounds.upper if bounds else None,
        judgement.verdict.passed if is_challenger else None, judgement.verdict.reason if is_challenger else None,
        judgement.judged_seq,
    )  # fmt: skip


def _evaluated(judgement: Judgement, rule: GateRule) -> ModelEvaluated:
    return ModelEvaluated(
        occurred_at=judgement.as_of or judgement.window_to,
        version=judgement.challenger.version,
        role="challenger",
        verdict="passed" if judgement.verdict.passed else "rejected",
        reason=judgement.verdict.reason,
        metric="f1" if rule.metric == "f1" else "roc_auc",
        value=judgement.challenger.value,
        threshold=rule.at_least,
        n_loans=judgement.challenger.counts.n,
        metrics=judgement.challenger.metrics,
        window_from=judgement.window_from,
        window_to=judgement.window_to,
        opponent=judgement.opponent,
    )


async def _alert_of_refusal(connection: Connection, judgement: Judgement) -> None:
    version = judgement.challenger.version
    alert = Alert(
        kind="model_refused",
        fact=version,
        severity="warning",
        message=judgement.verdict.reason,
        details={"version": version},
        occurred_at=judgement.as_of or judgement.window_to,
    )
    await raise_alert(connection, alert, service=SERVICE)
