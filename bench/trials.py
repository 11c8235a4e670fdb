"""One trial: a model learns from loans of a split's window and judges those of a later year. Made once, then kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.resources import SAMPLE
from loanloop_trainer.model import TrainingData

from bench.contenders import CONTENDERS, Fit, Task
from bench.fits import KeptFits
from bench.loans import LoanFile, Split
from bench.registry import Options


@dataclass(frozen=True)
class Trial:
    """`n_window` loans are drawn from the years of the split, and of them `n_learnt` that have a label; None: all.

    `sees_unlabelled`: the others are there to pretrain on.
    """

    portfolio: Portfolio
    split: Split
    model: str
    seed: int
    n_learnt: int | None
    n_window: int | None = None
    sees_unlabelled: bool = False

    def key(self) -> dict[str, Any]:
        return {
            "said": self._in_words(),
            "drawn": [self.n_learnt, self.n_window, self.sees_unlabelled],
            "inputs": self.portfolio.schema_hash,
            "model": self.portfolio.model.model_dump(mode="json"),
        }

    def _in_words(self) -> str:
        what = self.model if self.portfolio.model.pretrain_epochs else f"{self.model} without pretraining"
        learnt = "all" if self.n_learnt is None else f"{self.n_learnt:,}"
        return f"{self.portfolio.name} {self.split}, {learnt} labelled loans, seed {self.seed}: {what}"


class Trials:
    """On the loans of one file. Its judged loans are read once a portfolio and split."""

    def __init__(self, file: LoanFile, kept: KeptFits, say: Callable[[str], None]) -> None:
        self._file, self._kept, self._say = file, kept, say
        self._judged: dict[tuple[str, Split], TrainingData] = {}

    @property
    def n_kept(self) -> int:
        """How many of them an earlier run had made."""
        return self._kept.n_kept

    def fit(self, trial: Trial) -> Fit:
        def make(checkpoint: Path) -> Fit:
            judged = self.judged(trial.portfolio, trial.split)
            task = Task(self._learnt(trial), judged, trial.portfolio, trial.seed, checkpoint, self._say)
            return CONTENDERS[trial.model](task)

        return self._kept.fit(trial.key() | {"file": self._file.sha256}, make, self._say)

    def judged(self, portfolio: Portfolio, split: Split) -> TrainingData:
        """All loans of the later year."""
        known = (portfolio.name, split)
        if known not in self._judged:
            self._judged[known] = self._file.loans(self._file.years(split.judged, split.judged), portfolio)
        return self._judged[known]

    def n_window(self, split: Split, drawn: int | None = None) -> int:
        n_loans = int(self._file.years(split.first, split.last).sum())
        return n_loans if drawn is None else min(drawn, n_loans)

    def _learnt(self, trial: Trial) -> TrainingData:
        years = self._file.years(trial.split.first, trial.split.last)
        window = self._file.drawn(years, trial.n_window, trial.seed)
        labelled = self._file.drawn(window, trial.n_learnt, trial.seed)
        loans = self._file.loans(labelled, trial.portfolio)
        others = window & ~labelled
        if not trial.sees_unlabelled or not others.any():
            return loans
        return replace(loans, unlabelled=self._file.loans(others, trial.portfolio).columns)


@dataclass(frozen=True)
class Ground:
    """What trials are made on: the presets, and those of the splits that the file covers."""

    portfolios: list[Portfolio]
    file: LoanFile
    splits: list[Split]
    trials: Trials

    def sizes(self, n_seeds: int) -> dict[str, Any]:
        """Once the trials are made."""
        return {
            "loans in the file": len(self.file),
            "seeds": n_seeds,
            "splits": len(self.splits),
            "fits kept from before": self.trials.n_kept,
        }


def ground(presets: Sequence[str], splits: Sequence[Split], options: Options) -> Ground:
    portfolios = [load_portfolio(preset) for preset in presets]
    file = LoanFile(options.loans or SAMPLE, portfolios[0])
    covered = [split for split in splits if file.covers(split)]
    return Ground(portfolios, file, covered, Trials(file, KeptFits(), options.say))
