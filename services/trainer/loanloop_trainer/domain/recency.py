"""How much a loan counts by its age: what defaulted six years ago says less of next year's loans than last month's."""

import numpy as np
import numpy.typing as npt

from loanloop_trainer.domain.split import Times

Weights = npt.NDArray[np.float32]


def recency_weights(occurred_at: Times, half_life_days: int) -> Weights:
    """(B,) 1 on average; a loan that is `half_life_days` older than another weighs half as much. 0: all weigh alike."""
    if half_life_days == 0:
        return np.ones(len(occurred_at), np.float32)
    age_days = (occurred_at.max() - occurred_at) / np.timedelta64(1, "D")
    weights: npt.NDArray[np.float64] = np.exp2(-age_days / half_life_days)
    of_mean_1: Weights = (weights / weights.mean()).astype(np.float32)
    return of_mean_1
