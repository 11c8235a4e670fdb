"""Snapshots of installations that are not there, for the views and the demo's rules."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from loanloop.observe.loan_counts import LoanCounts
from loanloop.observe.snapshot import (
    Breach,
    Day,
    Deployment,
    Gate,
    Instance,
    Lag,
    ModelVersion,
    Rule,
    Snapshot,
    Training,
    Where,
)

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
RULE = Rule(
    portfolio="sba",
    metric="f1",
    threshold=0.8,
    gate_at_least=0.8,
    window_days=7,
    first_labels=30_000,
    maturity_days=365,
    warnings=(("term_months", "it was edited after the outcome"),),
)


def event_time(year: int, month: int = 1, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def make_counts(**overrides: int | None) -> LoanCounts:
    counts: dict[str, Any] = {
        "received": 110, "stored": 110, "rejected": 0, "duplicates": 0, "removed": 0, "n_loans": 110, "history": 60,
        "scored": 50, "decided": 50, "labelled": 100, "mature": 100, "waiting_outcomes": 0,
    }  # fmt: skip
    return LoanCounts(**(counts | overrides))


def make_snapshot(**overrides: Any) -> Snapshot:
    facts: dict[str, Any] = {
        "taken_at": NOW,
        "rule": RULE,
        "where": Where(kafka="127.0.0.1:9092", postgres="postgresql://loanloop@127.0.0.1/loanloop", rest=None),
        "as_of": None,
        "stream_day": None,
        "loans": make_counts(),
    }
    return Snapshot(**(facts | overrides))


def make_version(number: int = 1, *, passed: bool | None = True, trigger: str = "labels") -> ModelVersion:
    gate = None if passed is None else make_gate(passed)
    return ModelVersion(
        version=f"v{number}",
        trigger=trigger,
        train_from=event_time(2002),
        train_to=event_time(2004, 9),
        n_rows=36_000,
        created_at=NOW,
        gate=gate,
    )


def make_gate(passed: bool) -> Gate:
    return Gate(
        passed=passed, reason="F1 0.849 is at least 0.8", f1=0.849, roc_auc=0.968, n_loans=3900,
        window_from=event_time(2004, 9), window_to=event_time(2004, 12), opponent=None,
        opponent_f1=None, opponent_roc_auc=None,
    )  # fmt: skip


def make_deployment(seq: int = 1, *, previous: str | None = None) -> Deployment:
    return Deployment(
        deployment_seq=seq, version=f"v{seq}", kind="deploy", pinned=False, previous=previous, actor="evaluator",
        reason="passed", live_from=NOW, live_to=None, live_from_event_time=event_time(2004 + seq),
        live_to_event_time=None, login="evaluator",
    )  # fmt: skip


def make_training(state: str = "running", **overrides: Any) -> Training:
    facts: dict[str, Any] = {
        "run_id": "r1", "trigger": "labels", "attempt": 1, "state": state, "phase": "train", "progress": {},
        "n_rows": 36_000, "n_unlabelled": 0, "window_from": event_time(2002), "window_to": event_time(2004, 9),
        "crashes": 0, "error": None, "version": None, "created_at": NOW, "started_at": NOW, "finished_at": None,
    }  # fmt: skip
    return Training(**(facts | overrides))


def make_breach(**overrides: Any) -> Breach:
    facts: dict[str, Any] = {
        "breach_id": 1, "version": "v1", "opened_on": date(2008, 6, 1), "opened_at": NOW + timedelta(minutes=2),
        "value": 0.76, "upper": 0.79, "closed_on": None, "closed_by": None,
        "relapses": 0,
    }  # fmt: skip
    return Breach(**(facts | overrides))


def make_days(first: date, values: Sequence[float | None], *, version: str = "v1") -> tuple[Day, ...]:
    return tuple(
        Day(
            day=first + timedelta(days=n), version=version, value=value, lower=value, upper=value, f1=value, n_loans=300
        )
        for n, value in enumerate(values)
    )


def make_lag(topic: str, group: str, waiting: int) -> Lag:
    return Lag(topic=topic, group=group, committed=1000, end=1000 + waiting)


def make_instance(
    service: str,
    *,
    age_s: float = 1.0,
    version: str | None = None,
    seq: int | None = None,
    detail: dict[str, Any] | None = None,
) -> Instance:
    return Instance(
        service=service,
        instance_id=service,
        url=None,
        version=version,
        deployment_seq=seq,
        detail=detail or {},
        age_s=age_s,
    )
