"""Decided loans with their outcome, and how many were decided right. The class that counts is default."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of declined (predicted to default) against defaulted."""

    tp: int = 0
    fp: int = 0
    tn: int = 0
    fn: int = 0

    @property
    def n(self) -> int:
        return self.tp + self.fp + self.tn + self.fn

    @property
    def f1(self) -> float | None:
        """None where it is undefined: no default, and none predicted."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float | None:
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        return ratio(self.tp, self.tp + self.fn)

    @property
    def accuracy(self) -> float | None:
        return ratio(self.tp + self.tn, self.n)


def ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True, slots=True)
class Scored:
    """Loans with score, decision and outcome; arrays of one length, in any order."""

    probability: NDArray[np.float64]
    declined: NDArray[np.bool_]
    defaulted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.probability)

    def part(self, chosen: Any) -> "Scored":
        """The loans that a slice, mask or index array chooses."""
        return Scored(self.probability[chosen], self.declined[chosen], self.defaulted[chosen])

    @property
    def confusion(self) -> Confusion:
        tp = int(np.count_nonzero(self.declined & self.defaulted))
        fp = int(np.count_nonzero(self.declined)) - tp
        fn = int(np.count_nonzero(self.defaulted)) - tp
        return Confusion(tp=tp, fp=fp, tn=len(self) - tp - fp - fn, fn=fn)
