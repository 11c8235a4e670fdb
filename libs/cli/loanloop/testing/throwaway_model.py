"""A first model within seconds: a portfolio that asks little of it, and made-up loans to learn from."""

import json
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from loanloop_common.portfolio import Feature, Portfolio
from loanloop_common.portfolio_file import portfolio_path

N_LOANS = 400
_NAMESPACE = UUID("0d0c8e5e-3f5b-4f43-9a51-8a3a3a0c6a11")
_FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
_LOANS_A_DAY = 10
_RANGE = 1000.0

# The features stay as they are: what is accepted and what is refused does not change. The newest labels but
# min_outcomes don't count yet (docs/architecture.md, as_of).
_EASY = f"""
[policy]
maturity_days = 0
metric = "roc_auc"
breach_below = 0
min_outcomes = 10
gate_at_least = 0
gate_min_loans = 50
first_labels = {N_LOANS - 50}
new_labels = 1000000
cooldown_minutes = 0
max_unlabelled = 0
max_rejected_share = 1

[model]
kind = "tabtransformer"
d_model = 8
n_layers = 1
n_heads = 2
d_feedforward = 8
pretrain_epochs = 0
epochs = 1
min_steps = 0
batch_size = 64
refit = false
"""


def write_easy_portfolio(portfolio: str, folder: Path) -> Path:
    """The same portfolio with a policy that any model passes and a model that is small."""
    easy = folder / "easy.toml"
    parent = json.dumps(str(portfolio_path(portfolio)), ensure_ascii=False)
    easy.write_text(f"extends = {parent}\n{_EASY}", encoding="utf-8")
    return easy


def made_up_history(portfolio: Portfolio) -> list[dict[str, Any]]:
    """Loans with outcomes, which follow from nothing: the model that learns them decides, but not well."""
    return [
        made_up_loan(portfolio, number) | {"outcome": _outcome(number, _occurred_at(number))}
        for number in range(N_LOANS)
    ]


def made_up_loan(portfolio: Portfolio, number: int) -> dict[str, Any]:
    """A valid `loan.received`, the same for the same number."""
    chance = random.Random(number)  # noqa: S311 - loans, not secrets
    return {
        "event_id": str(uuid5(_NAMESPACE, f"{portfolio.name} {number}")),
        "occurred_at": _occurred_at(number).isoformat(),
        "schema_version": 1,
        "loan_id": f"made-up-{number}",
        "features": {feature.name: _value(feature, chance) for feature in portfolio.features.values()},
    }


def _occurred_at(number: int) -> datetime:
    return _FIRST_DAY + timedelta(days=number // _LOANS_A_DAY, minutes=number % _LOANS_A_DAY)


def _outcome(number: int, occurred_at: datetime) -> dict[str, Any]:
    return {"defaulted": number % 3 == 0, "known_at": (occurred_at + timedelta(days=10)).isoformat()}


def _value(feature: Feature, chance: random.Random) -> str | float | bool:
    if feature.kind == "flag":
        return chance.random() < 0.5
    if feature.kind == "number":
        return _number(feature, chance)
    known = feature.categories or tuple(text for text in (feature.example,) if isinstance(text, str) and text)
    return chance.choice(known or ("A", "B", "C"))


def _number(feature: Feature, chance: random.Random) -> float:
    """Around the example, or near the bound that is nearer to zero."""
    around = feature.example if isinstance(feature.example, int | float) else 0.0
    lowest, highest = feature.minimum, feature.maximum
    if feature.integer:
        lowest, highest = math.ceil(lowest), math.floor(highest)
    least = max(lowest, min(around / 2, highest))
    most = min(highest, max(around * 2, least + _RANGE))
    return chance.randint(math.floor(least), math.floor(most)) if feature.integer else chance.uniform(least, most)
