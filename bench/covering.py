"""Whether a file has the years of a split: without any there is nothing to measure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from loanloop_common.errors import LoanloopError

from bench.loans import Split


class NoSplitCovered(LoanloopError):
    """The file of loans has too few years."""


def refuse_uncovered(occurred_at: npt.NDArray[np.datetime64], wanted: Sequence[Split], covered: Sequence[Any]) -> None:
    """Raises NoSplitCovered where nothing of what was wanted is covered; says what the file has, and what it needs."""
    if covered:
        return
    years = np.unique(occurred_at.astype("datetime64[Y]")).astype(str).tolist()
    has = f"loans of {', '.join(years)}" if years else "no loans"
    needs = "; ".join(map(str, wanted))
    raise NoSplitCovered(
        f"the file has {has}, which is no whole split: give one by --loans that has all years of one of these, "
        f"learnt from and judged on: {needs}"
    )
