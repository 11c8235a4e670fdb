"""The encoder: a batch of loans as arrays of numbers. One class, fitted in the trainer, loaded everywhere else.

It is total: any value of the declared kind gets an index, so an encoded batch never fails a forward pass.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import repeat
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter

from loanloop_common.portfolio import Derived

MISSING, UNKNOWN, MASK, FIRST_VALUE = 0, 1, 2, 3  # UNKNOWN also stands for rare values; MASK is pretraining's alone
FORMAT = 1
_AS_WRITTEN = ConfigDict(strict=True, extra="forbid")  # how pydantic reads one: nothing is guessed

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Column = Sequence[Any] | Floats
Columns = Mapping[str, Column]


class EncodedBatch(NamedTuple):
    x_cat: Ints  # (B, C)
    x_num: npt.NDArray[np.float32]  # (B, K)
    x_exact: Ints  # (B, K)

    def rows(self, chosen: Any) -> "EncodedBatch":
        """The rows that a slice, a mask or an array of indices chooses."""
        return EncodedBatch(self.x_cat[chosen], self.x_num[chosen], self.x_exact[chosen])

    def followed_by(self, other: "EncodedBatch") -> "EncodedBatch":
        """The rows of both."""
        return EncodedBatch(
            np.concatenate([self.x_cat, other.x_cat]),
            np.concatenate([self.x_num, other.x_num]),
            np.concatenate([self.x_exact, other.x_exact]),
        )


@dataclass(frozen=True)
class CategoryInput:
    """A category with the values that have an index of their own."""

    __pydantic_config__ = _AS_WRITTEN

    name: str
    values: tuple[str | bool, ...]

    @property
    def n_ids(self) -> int:
        return FIRST_VALUE + len(self.values)

    @cached_property
    def _id_of(self) -> dict[Any, int]:
        return {None: MISSING} | {value: FIRST_VALUE + i for i, value in enumerate(self.values)}

    def ids(self, column: Column) -> Ints:
        return np.fromiter(map(self._id_of.get, column, repeat(UNKNOWN)), np.int64, len(column))


@dataclass(frozen=True)
class NumberInput:
    """A number, clipped to the training range, scaled; and the exact values that have an index of their own."""

    __pydantic_config__ = _AS_WRITTEN

    name: str
    log: bool
    low: FiniteFloat
    high: FiniteFloat
    mean: FiniteFloat
    std: Annotated[FiniteFloat, Field(gt=0)]
    exact: tuple[FiniteFloat, ...]

    @property
    def n_ids(self) -> int:
        return FIRST_VALUE + len(self.exact)

    @cached_property
    def _exact(self) -> Floats:
        return np.array(self.exact, np.float64)

    def scaled(self, values: Floats) -> npt.NDArray[np.float32]:
        """Zero where missing, which the index MISSING tells from a mean value."""
        scaled = (unscaled(values, log=self.log, low=self.low, high=self.high) - self.mean) / self.std
        return np.where(np.isnan(scaled), 0.0, scaled).astype(np.float32)

    def ids(self, values: Floats) -> Ints:
        ids: Ints = np.full(len(values), UNKNOWN, np.int64)
        if self.exact:
            position = self._exact.searchsorted(values)
            nearest = self._exact.take(position, mode="clip")
            ids = np.where(nearest == values, position + FIRST_VALUE, ids)
        ids[np.isnan(values)] = MISSING
        return ids


def unscaled(values: Floats, *, log: bool, low: float, high: float) -> Floats:
    clipped = values.clip(low, high)
    return np.log1p(clipped) if log else clipped


@dataclass(frozen=True)
class Encoder:
    __pydantic_config__ = _AS_WRITTEN

    categories: tuple[CategoryInput, ...]
    numbers: tuple[NumberInput, ...]
    derived: tuple[Derived, ...]

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Names of the features that a batch must bring."""
        computed = {derived.name for derived in self.derived}
        inputs: tuple[CategoryInput | NumberInput, ...] = (*self.categories, *self.numbers)
        direct = [part.name for part in inputs if part.name not in computed]
        needed = [name for derived in self.derived for name in derived.of]
        return tuple(dict.fromkeys((*direct, *needed)))

    def encode_columns(self, columns: Columns) -> EncodedBatch:
        """Columns as lists, None where missing; each name of `sources` must be there."""
        columns = with_derived(columns, self.derived)
        n_rows = len(columns[self.sources[0]])
        x_cat = np.empty((n_rows, len(self.categories)), np.int64)
        x_num = np.empty((n_rows, len(self.numbers)), np.float32)
        x_exact = np.empty((n_rows, len(self.numbers)), np.int64)
        for i, category in enumerate(self.categories):
            x_cat[:, i] = category.ids(columns[category.name])
        for i, number in enumerate(self.numbers):
            values = np.asarray(columns[number.name], np.float64)  # None becomes NaN
            x_num[:, i] = number.scaled(values)
            x_exact[:, i] = number.ids(values)
        return EncodedBatch(x_cat, x_num, x_exact)

    def encode_features(self, features: Sequence[Any]) -> EncodedBatch:
        """Feature structs, as LoanCodec decodes them."""
        return self.encode_columns(columns_of(features, self.sources))

    def to_dict(self) -> dict[str, Any]:
        derived = [part.model_dump(mode="json") for part in self.derived]
        categories = [asdict(part) for part in self.categories]
        return {
            "format": FORMAT,
            "categories": categories,
            "numbers": [asdict(part) for part in self.numbers],
            "derived": derived,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Encoder":
        """Raises ValueError, KeyError or TypeError where `data` is not what `to_dict` gave."""
        if data["format"] != FORMAT:
            raise ValueError(f"encoder format {data['format']}, this code reads {FORMAT}")
        parts = {name: part for name, part in data.items() if name != "format"}
        return _ENCODER.validate_json(json.dumps(parts))


_ENCODER = TypeAdapter(Encoder)


def columns_of(features: Sequence[Any], names: Iterable[str]) -> dict[str, list[Any]]:
    """Columns of decoded features: one pass a feature, once a batch."""
    return {name: [*map(attrgetter(name), features)] for name in names}


def with_derived(columns: Columns, derived: Iterable[Derived]) -> dict[str, Column]:
    return {**columns, **{part.name: _derived_column(part, [columns[name] for name in part.of]) for part in derived}}


def _derived_column(derived: Derived, sources: Sequence[Column]) -> Column:
    if derived.op == "prefix":
        return [None if value is None else value[: derived.length] for value in sources[0]]
    if derived.op == "equal":
        pairs = zip(sources[0], sources[1], strict=True)
        return [None if a is None or b is None else a == b for a, b in pairs]
    top, bottom = (np.asarray(source, np.float64) for source in sources)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio: Floats = top / bottom
    ratio[~np.isfinite(ratio)] = np.nan
    return ratio
