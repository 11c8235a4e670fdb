"""What a search for hyperparameters may try, what it found, and when a training uses it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from loanloop_common.portfolio import ModelConfig, Portfolio
from pydantic import ValidationError

Values = dict[str, float | int]
TrialState = Literal["complete", "pruned", "failed"]
FROM_FILE = "portfolio file"
# Settings of [model] that no search depends on: to change them takes nothing from its result.
BESIDE_THE_SEARCH = frozenset(
    {"mixed_precision", "refit", "kind", "trees", "tree_depth", "tree_learning_rate", "tree_min_loans"}
)


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def including(self, value: float) -> "Range":
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class Choice:
    values: tuple[int, ...]

    def including(self, value: float) -> "Choice":
        return Choice(tuple(sorted({*self.values, int(value)})))


Space = dict[str, Range | Choice]

_SPACE: Space = {
    "batch_size": Choice((128, 256, 512, 1024)),
    "learning_rate": Range(3e-4, 1e-2, log=True),
    "weight_decay": Range(1e-3, 1e-1, log=True),
    "dropout": Range(0.0, 0.4),
    "epochs": Range(2, 10, whole=True),
    "embedding_std": Range(0.05, 1.0, log=True),
    "min_count": Range(5, 500, log=True, whole=True),
    "half_life_days": Choice((0, 180, 365, 730, 1460)),
}


def space_around(config: ModelConfig) -> Space:
    """The file's own values are in it. Embeddings may become narrower, never wider: a wider network serves slower."""
    own = config.model_dump()
    widths = {config.d_model * part // 4 for part in (2, 3, 4)}
    narrower = Choice(tuple(sorted(w for w in widths if w >= 4 and w % config.n_heads == 0)))
    space: Space = {name: part.including(own[name]) for name, part in _SPACE.items() if own[name] > 0 or not _log(part)}
    return {**space, "d_model": narrower}


def _log(part: Range | Choice) -> bool:
    return isinstance(part, Range) and part.log


def own_values(config: ModelConfig, space: Space) -> Values:
    """What the portfolio file says of the hyperparameters that are searched."""
    own = config.model_dump()
    return {name: own[name] for name in space}


@dataclass(frozen=True)
class Trial:
    """One training of a search. `scores`: ROC-AUC on the newest loans after each epoch."""

    number: int
    state: TrialState
    values: Values
    scores: tuple[float, ...]
    took_s: float

    @property
    def score(self) -> float | None:
        """Of the epoch that a training would keep."""
        return max(self.scores, default=None) if self.state == "complete" else None


def best_of(trials: list[Trial]) -> Trial | None:
    """The earliest of the best; the first of all has the portfolio file's own values."""
    complete = [trial for trial in trials if trial.score is not None]
    return max(complete, key=lambda trial: (trial.score or 0.0, -trial.number), default=None)


@dataclass(frozen=True)
class Found:
    """The result of the newest finished search of a portfolio. `base`: what the file said when it was made."""

    tuning_id: int
    schema_hash: str
    base: dict[str, Any]
    values: Values


@dataclass(frozen=True)
class Hyperparameters:
    config: ModelConfig
    source: str


def hyperparameters_for(portfolio: Portfolio, found: Found | None) -> Hyperparameters:
    """What a search found for these features and this file; else what the file says, with the reason."""
    if found is None:
        return Hyperparameters(portfolio.model, FROM_FILE)
    if found.schema_hash != portfolio.schema_hash:
        return Hyperparameters(portfolio.model, f"{FROM_FILE} (tuning {found.tuning_id} is of other features)")
    if not same_base(portfolio.model, found.base):
        changed = f"{FROM_FILE} ([model] has changed since tuning {found.tuning_id})"
        return Hyperparameters(portfolio.model, changed)
    return Hyperparameters(portfolio.with_model(**found.values).model, f"tuning {found.tuning_id}")


def same_base(config: ModelConfig, base: Mapping[str, Any]) -> bool:
    """Whether [model] says what it said; a setting that is newer than the search counts with its default."""
    try:
        then = ModelConfig.model_validate(_searched(base))
    except ValidationError:  # of code that had other settings
        return False
    return _searched(config.model_dump()) == _searched(then.model_dump())


def _searched(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in BESIDE_THE_SEARCH}
