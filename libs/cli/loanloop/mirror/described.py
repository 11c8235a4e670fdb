"""What MLflow is told of a version. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loanloop_evaluator.store.models import VersionFacts

LONGEST_VALUE = 6000  # of a parameter, in MLflow
GATE = "loanloop.gate"


@dataclass(frozen=True)
class Described:
    """`params` and `metrics` are of the training and never change; `verdict` and `tags` may, as it is judged."""

    version: str
    params: dict[str, str]
    metrics: dict[str, float]
    verdict: dict[str, float]
    tags: dict[str, str]
    is_live: bool
    started_ms: int


def described(facts: VersionFacts) -> Described:
    manifest = facts.manifest
    params = {"kind": manifest["kind"], "seed": manifest["seed"], "threshold": manifest["threshold"]}
    params |= {f"model.{name}": value for name, value in manifest["hyperparameters"].items()}
    return Described(
        version=facts.version,
        params={name: str(value)[:LONGEST_VALUE] for name, value in params.items()},
        metrics=dict(_numbers({"n_rows": facts.n_rows, **_prefixed("validation", manifest["metrics"])})),
        verdict=dict(_numbers(_prefixed("gate", _verdict(facts)))),
        tags=_tags(facts),
        is_live=any(period["to"] is None for period in facts.live),
        started_ms=int(facts.created_at.timestamp() * 1000),
    )


def _verdict(facts: VersionFacts) -> Mapping[str, Any]:
    if facts.passed is None:
        return {}
    own = {name: (facts.metrics or {}).get(name) for name in ("f1", "roc_auc", "precision", "recall", "accuracy")}
    return own | {"n_loans": facts.n_loans, "value": facts.value, "lower": facts.lower, "upper": facts.upper}


def _tags(facts: VersionFacts) -> dict[str, str]:
    verdict = "not judged yet" if facts.passed is None else "passed" if facts.passed else "rejected"
    tags = {
        "loanloop.version": facts.version,
        "loanloop.preset": facts.manifest["portfolio"],
        "loanloop.code_version": facts.manifest["code_version"],
        "loanloop.train_from": facts.train_from.isoformat(),
        "loanloop.train_to": facts.train_to.isoformat(),
        GATE: verdict,
        f"{GATE}.reason": facts.reason or "",
    }
    for allowed in facts.manifest["allowed"]:
        tags[f"loanloop.allowed.{allowed['field']}"] = allowed["reason"]
    return tags


def _prefixed(prefix: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in figures.items()}


def _numbers(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    return ((name, float(value)) for name, value in figures.items() if value is not None)
