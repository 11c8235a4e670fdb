"""What a training is given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from loanloop_common.features import Columns

from loanloop_trainer.domain.split import Mask, Times


@dataclass(frozen=True)
class TrainingData:
    """The frozen loans of a run, the gate's share left out. Rows may come in any order, but the same one on resuming.

    `columns` has each feature of the portfolio, None where missing; `occurred_at` is UTC. `unlabelled` are loans of the
    same window without a label that counts, frozen with the others: only pretraining sees them.
    """

    columns: Columns
    defaulted: Mask
    occurred_at: Times
    unlabelled: Columns | None = None

    def __post_init__(self) -> None:
        lengths = {len(column) for column in self.columns.values()} | {len(self.defaulted), len(self.occurred_at)}
        if len(lengths) != 1:
            raise ValueError(f"columns, labels and times must have one length, not {sorted(lengths)}")

    def __len__(self) -> int:
        """Labelled ones."""
        return len(self.defaulted)

    @property
    def n_unlabelled(self) -> int:
        return 0 if self.unlabelled is None else len(next(iter(self.unlabelled.values()), ()))

    def rows(self, mask: Mask) -> "TrainingData":
        """Of the labelled loans alone."""
        chosen: Sequence[int] = np.flatnonzero(mask).tolist()
        columns = {name: [column[i] for i in chosen] for name, column in self.columns.items()}
        return TrainingData(columns, self.defaulted[mask], self.occurred_at[mask])
