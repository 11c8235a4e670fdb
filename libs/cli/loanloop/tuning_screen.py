"""What a search shows while it runs: its trials, and the epochs of the one under way."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from loanloop_trainer.domain.search_space import Trial, best_of
from loanloop_trainer.model import Progress as Learnt
from loanloop_trainer.model.searching import Attempt
from loanloop_trainer.tuning import Begun, Tuner
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


def begin_words(begun: Begun, *, anew: bool) -> Iterator[str]:
    """`anew`: whether --new was given."""
    begins = "begins" if begun.new else f"goes on after {len(begun.trials)} trials"
    data = begun.loans.data
    unlabelled = f", beside {data.n_unlabelled:,} without an outcome to pretrain on" if data.n_unlabelled else ""
    yield f"Tuning {begun.tuning_id} {begins}: {len(data):,} loans of the {begun.loans.source}{unlabelled}."
    if begun.left is not None:
        why = "for --new was given" if anew else "for its loans, features, hyperparameters or seed were others"
        yield f"Tuning {begun.left} had not ended and does not go on, {why}."


def stop_words(n_trials: int, *, anew: bool) -> str:
    done = f"after {n_trials} trials, which are kept" if n_trials else "before a trial had ended"
    return f"Stopped {done}: the same command{' without --new' if anew else ''} goes on."


class TuningScreen:
    """On a terminal two bars; a line for each trial either way."""

    def __init__(self, console: Console, begun: Begun, n_wanted: int, *, anew: bool) -> None:
        self._console = console
        self._trials = list(begun.trials)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
        self._bars = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._all = self._bars.add_task("trials", total=n_wanted, completed=self.n_trials, figures=self._best())
        self._one = self._bars.add_task("reading", total=None, figures="")
        for line in begin_words(begun, anew=anew):
            self.say(line)

    @property
    def n_trials(self) -> int:
        return len(self._trials)

    def watch(self, tuner: Tuner) -> None:
        tuner.on_begin, tuner.on_progress, tuner.on_trial = self._begins, self._learns, self._ended

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _begins(self, attempt: Attempt) -> None:
        self._bars.reset(self._one, description=f"trial {attempt.number}", total=None, figures="preparing")

    def _learns(self, learnt: Learnt) -> None:
        figures = f"{learnt.phase}, epoch {learnt.epoch}/{learnt.epochs}"
        if learnt.validation_roc_auc is not None:
            figures += f", ROC-AUC {learnt.validation_roc_auc:.4f}"
        self._bars.update(self._one, completed=learnt.step, total=learnt.steps or None, figures=figures)

    def _ended(self, trial: Trial) -> None:
        self._trials.append(trial)
        values = ", ".join(f"{name} {value:.3g}" for name, value in trial.values.items())
        score = f"ROC-AUC {max(trial.scores):.4f}" if trial.scores else "no figure"
        self.say(f"trial {trial.number}: {trial.state} after {trial.took_s:.0f} s, {score}; {values}")
        self._bars.update(self._all, completed=self.n_trials, figures=self._best())

    def _best(self) -> str:
        best = best_of(self._trials)
        return "" if best is None else f"{self.n_trials}, best {best.score:.4f} (trial {best.number})"

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
