"""Splits by time, at the boundaries of days (UTC): what is judged is always newer than what was learnt from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Times = npt.NDArray[np.datetime64]


class TooFewDays(ValueError):
    """All loans fall on one side of the boundary, so there is nothing to learn from or nothing to judge by."""


@dataclass(frozen=True)
class Split:
    train: Mask
    validation: Mask


def newest_from(occurred_at: Times, share: float) -> np.datetime64:
    """The first day of the newest `share` of the loans, or a little more of them: days stay whole."""
    days = np.sort(occurred_at.astype("datetime64[D]"))
    if len(days) == 0:
        raise TooFewDays("no loans")
    first: np.datetime64 = days[min(int(len(days) * (1.0 - share)), len(days) - 1)]
    if first == days[0]:
        raise TooFewDays(f"{len(days)} loans, too many of them on {first}, to leave the newest {share:.0%} apart")
    return first


def split_by_day(occurred_at: Times, *, validation_share: float) -> Split:
    """Each loan in exactly one part, whatever the order of the rows. Raises TooFewDays."""
    validation = occurred_at.astype("datetime64[D]") >= newest_from(occurred_at, validation_share)
    return Split(train=~validation, validation=validation)
