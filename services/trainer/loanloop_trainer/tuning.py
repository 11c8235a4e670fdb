"""A search for hyperparameters from its loans to its stored result; `loanloop tune` runs it.

Each trial that has ended is in the database, so a search that was stopped or killed goes on after its last one. What a
trial learns from and is judged by is what a training would have: the window without the gate's share, split by day.
"""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import msgspec
from loanloop_common.portfolio import Portfolio

from loanloop_trainer.domain.search_space import (
    Space,
    Trial,
    TrialState,
    best_of,
    own_values,
    same_base,
    space_around,
)
from loanloop_trainer.model import Hooks, Progress, TrainingData, learn_alone
from loanloop_trainer.model.searching import Attempt, Pruned, Search
from loanloop_trainer.store.freeze import Window
from loanloop_trainer.store.tunings import Tuning, TuningStore
from loanloop_trainer.tuning_loans import Loans, NothingToLearn


class _Ended(Exception):
    """The command was stopped, or its time is over: the trial under way counts for nothing."""


class _LossUndefined(Exception):
    """These hyperparameters can't be learnt by."""


@dataclass(frozen=True)
class Begun:
    """A search that is stored. `trials`: those it had before; `new`: whether it was begun just now.

    `left`: an earlier one that had not ended, and can't go on any more now that there is a newer one.
    """

    tuning_id: int
    tuning: Tuning
    loans: Loans
    space: Space
    trials: list[Trial]
    new: bool
    left: int | None = None


async def begin_or_go_on(
    store: TuningStore,
    portfolio: Portfolio,
    load: Callable[[Window | None], Awaitable[Loans]],
    *,
    source: str,
    seed: int,
    requested_by: str,
    anew: bool = False,
) -> Begun:
    """The newest search goes on if it has not ended and is for the same features, file, source and loans.

    `load` gets the window of the search that may go on, else None.
    """
    unfinished = await store.fetch_unfinished()
    if unfinished is not None and not anew and _goes_on(unfinished[1], portfolio, source, seed):
        tuning_id, tuning = unfinished
        loans = await load(tuning.window)
        if loans.sha256() == tuning.loans_sha256:
            trials = await store.fetch_trials(tuning_id)
            return Begun(tuning_id, tuning, loans, space_around(portfolio.model), trials, new=False)
    loans = await load(None)
    tuning = _tuning(portfolio, loans, seed)
    tuning_id = await store.begin(tuning, n_rows=len(loans.data), requested_by=requested_by)
    left = unfinished[0] if unfinished else None
    return Begun(tuning_id, tuning, loans, space_around(portfolio.model), [], new=True, left=left)


def _goes_on(tuning: Tuning, portfolio: Portfolio, source: str, seed: int) -> bool:
    asked = (portfolio.schema_hash, source, seed, _described(space_around(portfolio.model)))
    same = (tuning.schema_hash, tuning.source, tuning.seed, tuning.space) == asked
    return same and same_base(portfolio.model, tuning.base)


def _tuning(portfolio: Portfolio, loans: Loans, seed: int) -> Tuning:
    return Tuning(
        schema_hash=portfolio.schema_hash,
        source=loans.source,
        base=portfolio.model.model_dump(mode="json"),
        space=_described(space_around(portfolio.model)),
        seed=seed,
        window=loans.window,
        loans_sha256=loans.sha256(),
    )


def _described(space: Space) -> dict[str, Any]:
    """As it comes back from the database."""
    described: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(space))
    return described


@dataclass(frozen=True)
class Limits:
    """`trials`: of the whole search; `seconds`: of this call."""

    trials: int
    seconds: float = math.inf


class Learn(Protocol):
    def __call__(
        self, data: TrainingData, portfolio: Portfolio, *, seed: int, threads: int | None, hooks: Hooks
    ) -> None: ...


@dataclass
class Tuner:
    """One call of the command: trials until a limit is reached, each stored when it has ended."""

    store: TuningStore
    portfolio: Portfolio
    begun: Begun
    limits: Limits
    threads: int | None = None
    on_begin: Callable[[Attempt], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None
    on_trial: Callable[[Trial], None] = lambda _: None
    learn: Learn = learn_alone
    trials: list[Trial] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    async def run(self) -> Trial:
        """The best of `trials`, which is stored as the search's result.

        Raises NothingToLearn where no trial came to its end, and SearchTakenOver or SearchForgotten where others
        decided about the search meanwhile. Cancelled, it ends the trial under way within a second or, where that is
        preparing its loans, some seconds.
        """
        deadline = time.monotonic() + self.limits.seconds
        own = own_values(self.portfolio.model, self.begun.space)
        search = Search(self.begun.space, own, seed=self.begun.tuning.seed, past=self.begun.trials)
        self.trials = search.trials
        while len(search.trials) < self.limits.trials and time.monotonic() < deadline:
            await self.store.make_sure(self.begun.tuning_id, len(search.trials))
            attempt = search.attempt()
            self.on_begin(attempt)
            state = await self._state_of(attempt, deadline)
            if state is None:
                break
            trial = search.end(attempt, state)
            await self.store.add_trial(self.begun.tuning_id, trial)
            self.on_trial(trial)
        await self.store.make_sure(self.begun.tuning_id, len(search.trials))
        return await self._finished()

    async def _finished(self) -> Trial:
        best = best_of(self.trials)
        if best is None:
            raise NothingToLearn(
                f"no trial has come to its end ({len(self.trials)} stopped early or failed; one that the time ran out "
                "on is made again), so nothing is stored: give it more --minutes"
            )
        await self.store.finish(self.begun.tuning_id, best)
        return best

    async def _state_of(self, attempt: Attempt, deadline: float) -> TrialState | None:
        """None where the time was over before the trial's end."""
        learning = asyncio.create_task(asyncio.to_thread(self._learn, attempt, deadline))
        try:
            return await asyncio.shield(learning)
        except asyncio.CancelledError:
            self._stopped.set()
            await asyncio.wait({learning})
            raise

    def _learn(self, attempt: Attempt, deadline: float) -> TrialState | None:
        portfolio = self.portfolio.with_model(**attempt.values)

        def watch(progress: Progress) -> None:
            if self._stopped.is_set() or time.monotonic() > deadline:
                raise _Ended
            if progress.loss is not None and not math.isfinite(progress.loss):
                raise _LossUndefined
            self.on_progress(progress)

        hooks = replace(Hooks(), on_progress=watch, on_epoch=attempt.report, checkpoint_every_s=math.inf)
        try:
            self.learn(self.begun.loans.data, portfolio, seed=self.begun.tuning.seed, threads=self.threads, hooks=hooks)
        except _Ended:
            return None
        except Pruned:
            return "pruned"
        except _LossUndefined:
            return "failed"
        return "complete"
