"""A portfolio: the one file that says what a loan is, what a model may see of it, and the policy.

Everything else about a lender's loans (wire form, validation, encoder, triggers, gate) follows from it.
"""

import hashlib
import json
import math
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from loanloop_common.portfolio_part import DAYS, LOANS, Part

Kind = Literal["category", "number", "flag"]
KnownAt = Literal["application", "decision", "servicing", "outcome"]
MAX_SAFE_INTEGER = 2**53  # JSON numbers beyond it lose digits in many producers


class Feature(Part):
    """One field of a loan, as producers send it. A field may be absent only if `required` is false."""

    name: str
    kind: Kind
    description: str = ""
    example: str | int | float | bool | None = None
    known_at: KnownAt = "application"
    use: bool = True
    required: bool = True
    nullable: bool = False
    sensitive: bool = False
    unit: str | None = None
    integer: bool = False
    minimum: float = -float(MAX_SAFE_INTEGER)
    maximum: float = float(MAX_SAFE_INTEGER)
    scale: Literal["linear", "log"] = "linear"
    categories: tuple[str, ...] = ()
    closed: bool = False
    max_length: int = Field(default=200, ge=1, le=10_000)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if not self.name.isidentifier():
            raise ValueError("a feature's name must be a plain identifier such as approved_amount")
        if self.closed and not self.categories:
            raise ValueError("closed = true needs a list of categories")
        if not self.minimum <= self.maximum or not math.isfinite(self.maximum - self.minimum):
            raise ValueError(f"minimum {self.minimum} and maximum {self.maximum} are no range")
        if self.scale == "log" and self.minimum < 0:
            raise ValueError('scale = "log" needs minimum >= 0')
        return self

    def rule(self) -> str:
        """What a value must be, in words, for the producer who sent another."""
        if self.kind == "flag":
            words = "must be true or false"
        elif self.kind == "number":
            number = "a whole number" if self.integer else "a number"
            words = f"must be {number} from {_number(self.minimum)} to {_number(self.maximum)}"
        elif self.closed:
            words = "must be one of " + ", ".join(self.categories)
        else:
            words = f"must be text of 1 to {self.max_length} characters"
        return words + (", or null" if self.nullable else "")


def _number(value: float) -> str:
    return str(int(value)) if abs(value) <= MAX_SAFE_INTEGER and value.is_integer() else f"{value:.15g}"


class Derived(Part):
    """A model input computed from features: `prefix` and `equal` give categories, `ratio` a number."""

    name: str
    op: Literal["prefix", "equal", "ratio"]
    of: tuple[str, ...]
    length: int | None = Field(default=None, ge=1)

    @property
    def kind(self) -> Kind:
        return "number" if self.op == "ratio" else "category"

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        n_sources = 1 if self.op == "prefix" else 2
        if len(self.of) != n_sources:
            raise ValueError(f'op = "{self.op}" is of {n_sources} feature(s), not {len(self.of)}')
        if (self.op == "prefix") != (self.length is not None):
            raise ValueError('op = "prefix" needs a length, the others have none')
        return self


class FileMapping(Part):
    """How a row of a CSV or Parquet file becomes an event. Columns named as features are features."""

    loan_id: str = "loan_id"
    occurred_at: str = "occurred_at"
    defaulted: str | None = None
    outcome_known_at: str | None = None
    outcome_delay_days: int | None = Field(default=None, ge=0)


class Policy(Part):
    """When to train, what to require, and what counts as a breach."""

    maturity_days: int = Field(ge=0, le=DAYS)
    metric: Literal["f1", "roc_auc"] = "f1"
    window_days: int = Field(default=7, ge=1, le=DAYS)
    breach_below: float = Field(default=0.8, ge=0, le=1)
    breach_days: int = Field(default=3, ge=1, le=DAYS)
    relapse_days: int = Field(default=28, ge=0, le=DAYS)
    min_outcomes: int = Field(default=30, ge=1, le=LOANS)
    confidence: float = Field(default=0.9, gt=0.5, lt=1)
    gate_at_least: float = Field(default=0.8, ge=0, le=1)
    gate_min_loans: int = Field(default=500, ge=1, le=LOANS)
    gate_share: float = Field(default=0.1, gt=0, le=0.5)
    first_labels: int = Field(default=5000, ge=1, le=LOANS)
    new_labels: int = Field(default=50_000, ge=1, le=LOANS)
    breach_new_labels: int = Field(default=500, ge=0, le=LOANS)
    breach_attempts: int = Field(default=3, ge=1, le=1000)
    cooldown_minutes: float = Field(default=60, ge=0, le=DAYS * 24 * 60)
    training_window_months: int = Field(default=36, ge=1, le=1200)
    max_unlabelled: int = Field(default=50_000, ge=0, le=LOANS)  # the window's newest without a label: to pretrain on
    max_rejected_share: float = Field(default=0.05, ge=0, le=1)
    quality_min_loans: int = Field(default=100, ge=1, le=LOANS)


class ModelConfig(Part):
    """Hyperparameters; each is kept in the bundle's manifest."""

    kind: Literal["tabtransformer", "ensemble"] = "tabtransformer"  # ensemble: with boosted trees
    d_model: int = Field(default=32, ge=4, le=1024)
    n_layers: int = Field(default=6, ge=1, le=64)
    n_heads: int = Field(default=4, ge=1)
    d_feedforward: int = Field(default=64, ge=4, le=4096)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    embedding_std: float = Field(default=0.5, gt=0, le=100)
    exact_values: bool = True  # a learned embedding of frequent exact numbers, added to the token
    max_exact_values: int = Field(default=512, ge=1, le=1_000_000)
    min_count: int = Field(default=20, ge=1, le=LOANS)
    pretrain_epochs: int = Field(default=1, ge=0, le=1000)
    pretrain_batch_size: int = Field(default=512, ge=4, le=16_384)
    pretrain_learning_rate: float = Field(default=1e-3, gt=0)
    temperature: float = Field(default=0.2, ge=0.001, le=100)
    mask_share: float = Field(default=0.3, gt=0, lt=1)
    epochs: int = Field(default=6, ge=1, le=1000)
    min_steps: int = Field(default=600, ge=0, le=10_000_000)  # of all epochs: few loans are passed several times in one
    half_life_days: int = Field(default=0, ge=0, le=DAYS)  # so much older, and a loan counts half; 0: all alike
    unknown_share: float = Field(default=0.0, ge=0, lt=1)  # of the values, shown in training as never seen
    patience: int = Field(default=3, ge=1, le=1000)
    batch_size: int = Field(default=256, ge=4, le=1_000_000)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0, le=10)
    class_weights: bool = False
    mixed_precision: Literal["off", "bf16"] = "off"
    validation_share: float = Field(default=0.1, gt=0, lt=0.5)
    refit: bool = True  # once all is chosen on the newest loans, it learns again, these as well
    trees: int = Field(default=300, ge=1, le=2000)
    tree_depth: int = Field(default=3, ge=1, le=8)
    tree_learning_rate: float = Field(default=0.1, gt=0, le=1)
    tree_min_loans: int = Field(default=50, ge=1, le=LOANS)

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} must be a multiple of n_heads {self.n_heads}")
        return self


class Portfolio(Part):
    name: str
    title: str = ""
    currency: str | None = None  # of its amounts, for whoever reads the file
    file: FileMapping = FileMapping()
    features: dict[str, Feature]
    derived: dict[str, Derived] = Field(default_factory=dict)
    allow: dict[str, str] = Field(default_factory=dict)
    policy: Policy
    model: ModelConfig = ModelConfig()

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if not self.name.strip():
            raise ValueError('name is empty; write name = "my_loans"')
        for name, reason in self.allow.items():
            if name not in self.features:
                raise ValueError(f"[allow] names {name}, which is no feature")
            if not reason.strip():
                raise ValueError(f"[allow] {name} needs a reason")
        for derived in self.derived.values():
            if derived.name in self.features:
                raise ValueError(f"{derived.name} is both a feature and derived")
            wanted = "number" if derived.op == "ratio" else "category"
            for source in derived.of:
                if source not in self.features or self.features[source].kind != wanted:
                    raise ValueError(f"derived {derived.name} needs a {wanted} feature named {source}")
        return self

    def with_model(self, **changes: object) -> Self:
        """With some hyperparameters changed, and checked."""
        return self.model_copy(update={"model": ModelConfig.model_validate({**self.model.model_dump(), **changes})})

    @cached_property
    def model_inputs(self) -> tuple[str, ...]:
        """In order: features that are known at the application or allowed, then what is derived of such alone."""
        seen = [f.name for f in self.features.values() if self._may_see(f) and f.use]
        derived = [d.name for d in self.derived.values() if all(self._may_see(self.features[s]) for s in d.of)]
        return (*seen, *derived)

    @cached_property
    def numbers(self) -> frozenset[str]:
        """Names of the features that are numbers."""
        return frozenset(feature.name for feature in self.features.values() if feature.kind == "number")

    @cached_property
    def warnings(self) -> tuple[tuple[str, str], ...]:
        """(field, reason) for each allowed field, to be printed wherever a figure is."""
        return tuple(self.allow.items())

    @cached_property
    def schema_hash(self) -> str:
        """Changes when and only when a bundle's encoder could meet other inputs."""
        described = list(self.input_facts.values())
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

    @cached_property
    def input_facts(self) -> dict[str, dict[str, Any]]:
        """What the encoder has to know of each model input, in order."""
        return {name: _input_facts(self.features.get(name) or self.derived[name]) for name in self.model_inputs}

    def _may_see(self, feature: Feature) -> bool:
        return feature.known_at == "application" or feature.name in self.allow


def _input_facts(part: Feature | Derived) -> dict[str, Any]:
    kept = {"name", "kind", "categories", "closed", "integer", "unit", "scale", "op", "of", "length"}
    return part.model_dump(mode="json", include=kept)
