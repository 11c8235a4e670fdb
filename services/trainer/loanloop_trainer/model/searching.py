"""The search itself, by Optuna: which hyperparameters a trial gets, and which trial is not worth its next epoch."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as OptunaState

from loanloop_trainer.domain.search_space import Choice, Range, Space, Trial, TrialState, Values

# Trials before the sampler learns from them, and before one may be pruned.
RANDOM_TRIALS = 8
UNPRUNED_TRIALS = 4
# The learning rate is still rising in a trial's first epochs, which say little.
UNPRUNED_EPOCHS = 2
_STATES = {"complete": OptunaState.COMPLETE, "pruned": OptunaState.PRUNED, "failed": OptunaState.FAIL}

optuna.logging.disable_default_handler()


class Pruned(Exception):
    """After this epoch the trial is worse than half of those before it were."""


@dataclass
class Attempt:
    """A trial that is under way."""

    number: int
    values: Values
    optuna: optuna.trial.Trial
    scores: list[float] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def report(self, epoch: int, score: float) -> None:
        """`epoch` counts from 1. Raises Pruned."""
        self.scores.append(score)
        self.optuna.report(score, epoch)
        if self.optuna.should_prune():
            raise Pruned

    def took_s(self) -> float:
        return time.monotonic() - self._began


class Search:
    """What a trial gets follows from the seed and the trials before it: a search that was cut off goes on alike."""

    def __init__(self, space: Space, own: Values, *, seed: int, past: Sequence[Trial] = ()) -> None:
        self._seed = seed
        self._distributions = {name: _distribution(part) for name, part in space.items()}
        self._study = optuna.create_study(
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=UNPRUNED_EPOCHS),
        )
        self.trials: list[Trial] = []
        for trial in past:
            self._study.add_trial(_frozen(trial, self._distributions))
            self.trials.append(trial)
        if not self.trials:
            self._study.enqueue_trial(dict(own))

    def attempt(self) -> Attempt:
        number = len(self.trials)
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
        asked = self._study.ask(self._distributions)
        return Attempt(number, dict(asked.params), asked)

    def end(self, attempt: Attempt, state: TrialState) -> Trial:
        trial = Trial(attempt.number, state, attempt.values, tuple(attempt.scores), attempt.took_s())
        self._study.tell(attempt.optuna, trial.score, _STATES[state])
        self.trials.append(trial)
        return trial


def _distribution(part: Range | Choice) -> BaseDistribution:
    if isinstance(part, Choice):
        return CategoricalDistribution(part.values)
    if part.whole:
        return IntDistribution(int(part.low), int(part.high), log=part.log)
    return FloatDistribution(part.low, part.high, log=part.log)


def _frozen(trial: Trial, distributions: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    """By what both know: code that came later may search more, or less."""
    known = trial.values.keys() & distributions.keys()
    return optuna.trial.create_trial(
        state=_STATES[trial.state],
        value=trial.scores[-1] if trial.state == "pruned" else trial.score,
        params={name: trial.values[name] for name in known},
        distributions={name: distributions[name] for name in known},
        intermediate_values=dict(enumerate(trial.scores, start=1)),
    )
