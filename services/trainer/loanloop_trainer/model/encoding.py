"""Fits the encoder on training rows. What serves it is `loanloop_common.features`."""

from collections import Counter

import numpy as np
from loanloop_common.features import CategoryInput, Column, Columns, Encoder, NumberInput, unscaled, with_derived
from loanloop_common.portfolio import Derived, Feature, Portfolio
from sklearn.preprocessing import StandardScaler

# What lies beyond is no amount of anything: one such value, a ratio to almost nothing, would hide all others behind its
# spread, and its square is no number. The encoder clips it to the range of the others.
_LARGEST = float(np.finfo(np.float32).max)


def fit_encoder(portfolio: Portfolio, columns: Columns) -> Encoder:
    """Columns of the training rows alone: what the encoder knows of later rows is a leak."""
    parts = [portfolio.features.get(name) or portfolio.derived[name] for name in portfolio.model_inputs]
    derived = tuple(part for part in parts if isinstance(part, Derived))
    columns = with_derived(columns, derived)
    return Encoder(
        categories=tuple(_category(part, columns[part.name], portfolio) for part in parts if part.kind != "number"),
        numbers=tuple(_number(part, columns[part.name], portfolio) for part in parts if part.kind == "number"),
        derived=derived,
    )


def _category(part: Feature | Derived, column: Column, portfolio: Portfolio) -> CategoryInput:
    counts = Counter(value for value in column if value is not None)
    values = [value for value, count in counts.items() if count >= portfolio.model.min_count]
    return CategoryInput(part.name, tuple(sorted(values)))


def _number(part: Feature | Derived, column: Column, portfolio: Portfolio) -> NumberInput:
    values = np.asarray(column, np.float64)
    values = values[np.abs(values) <= _LARGEST]
    if len(values) == 0:
        values = np.zeros(1)
    log = isinstance(part, Feature) and part.scale == "log"
    low, high = float(values.min()), float(values.max())
    scaler = StandardScaler().fit(unscaled(values, log=log, low=low, high=high)[:, None])
    exact = _frequent(values, portfolio.model.min_count, portfolio.model.max_exact_values)
    return NumberInput(
        name=part.name,
        log=log,
        low=low,
        high=high,
        mean=float(scaler.mean_[0]),
        std=float(scaler.scale_[0]),
        exact=exact if portfolio.model.exact_values else (),
    )


def _frequent(values: np.ndarray[tuple[int], np.dtype[np.float64]], min_count: int, at_most: int) -> tuple[float, ...]:
    distinct, counts = np.unique(values, return_counts=True)
    frequent = np.flatnonzero(counts >= min_count)
    most = frequent[np.argsort(-counts[frequent], kind="stable")][:at_most]
    return tuple(sorted(float(distinct[i]) for i in most))
