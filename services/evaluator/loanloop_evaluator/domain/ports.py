"""What the evaluator needs of a model: it judges the file that will be served, whatever is in it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class LoanScorer(Protocol):
    @property
    def threshold(self) -> float: ...

    def probabilities(self, features: Sequence[str]) -> NDArray[np.float64]:
        """Of default, for the features of each loan as JSON text. Blocks: call it in a thread."""
        ...

    def close(self) -> None: ...
