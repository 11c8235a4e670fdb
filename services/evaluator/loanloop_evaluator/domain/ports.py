"""What the evaluator needs of a model: it judges the file that will be served, whatever is in it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class LoanScorer(Protocol):
    @property
    def threshold(self) -> float: ...

    def probabilities(self, features: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Of default, one for each loan. Blocks: call it in a thread."""
        ...
