"""The loans of a file, and the parts of it by year of approval that quality is measured on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from loanloop_common.errors import LoanloopError
from loanloop_common.portfolio import Portfolio
from loanloop_trainer.domain.split import Mask
from loanloop_trainer.model import TrainingData


@dataclass(frozen=True)
class Split:
    """Learnt from the years `first` to `last`, judged on the year `judged`; all three count in full."""

    first: int
    last: int
    judged: int

    def __str__(self) -> str:
        return f"{self.first}–{self.last} → {self.judged}"


SPLITS = (
    Split(1995, 2000, 2001),
    Split(1997, 2002, 2003),
    Split(1999, 2004, 2005),
    Split(2000, 2005, 2006),
    Split(2001, 2006, 2007),
    Split(2002, 2007, 2008),
    Split(2004, 2008, 2009),
)


class OutcomesMissing(LoanloopError):
    """Loans of the file have no known end: they can be neither learnt nor judged."""

    def __init__(self, path: Path, column: str, n_missing: int, n_loans: int) -> None:
        super().__init__(
            f"{path}: the column {column} is empty in {n_missing:,} of {n_loans:,} rows; leave loans without a known "
            "end out of the file"
        )


class NoLoanFile(LoanloopError):
    """The file is no Parquet file, or lacks columns that the portfolio names."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}; portfolios/sba/README.md says how such a file is made")


class LoanFile:
    """All loans of a Parquet file with the columns of `portfolios/sba/README.md`.

    Raises NoLoanFile, OutcomesMissing.
    """

    def __init__(self, path: Path, portfolio: Portfolio) -> None:
        self._table = table_of(path)
        self._mapping = portfolio.file
        needed = [*portfolio.features, str(self._mapping.defaulted), str(self._mapping.occurred_at)]
        if missing := [name for name in needed if name not in self._table.column_names]:
            raise NoLoanFile(path, f"it has no column {', '.join(missing)}")
        self._defaulted = outcomes_of(self._table, str(self._mapping.defaulted), path)
        self.occurred_at = self._table[self._mapping.occurred_at].to_numpy().astype("datetime64[us]")
        self._year = self.occurred_at.astype("datetime64[Y]").astype(int) + 1970
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.occurred_at)

    def covers(self, split: Split) -> bool:
        """Whether each year of the split has loans."""
        return set(range(split.first, split.judged + 1)) <= set(self._year.tolist())

    def years(self, first: int, last: int) -> Mask:
        inside: Mask = (self._year >= first) & (self._year <= last)
        return inside

    def drawn(self, among: Mask, n_loans: int | None, seed: int) -> Mask:
        """`n_loans` of them by chance, or all: the order in time stays, and with it each split by time."""
        rows = np.flatnonzero(among)
        if n_loans is None or len(rows) <= n_loans:
            return among
        chosen: Mask = np.zeros(len(self), bool)
        chosen[np.random.default_rng(seed).choice(rows, n_loans, replace=False)] = True
        return chosen

    def loans(self, chosen: Mask, portfolio: Portfolio) -> TrainingData:
        table = self._table.filter(chosen)
        columns = {name: table[name].to_pylist() for name in portfolio.features}
        return TrainingData(columns, self._defaulted[chosen], self.occurred_at[chosen])


def table_of(path: Path) -> pa.Table:
    """Raises NoLoanFile."""
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as reason:  # OSError: it is damaged between a right beginning and end
        raise NoLoanFile(path, f"it can't be read as Parquet ({reason})") from reason


def outcomes_of(table: pa.Table, column: str, path: Path) -> Mask:
    """Raises OutcomesMissing."""
    # As a truth value a missing one would be a loan that was repaid, or for NaN one that was not.
    n_missing = pc.sum(pc.is_null(table[column], nan_is_null=True)).as_py() or 0
    if n_missing:
        raise OutcomesMissing(path, column, n_missing, len(table))
    outcomes: Mask = table[column].to_numpy(zero_copy_only=False).astype(bool)
    return outcomes
