"""One run from its frozen rows to a stored model."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as version_of
from typing import Any, Protocol, TypeVar
from uuid import UUID

import structlog
from loanloop_common.bundle import Bundle, unpack
from loanloop_common.errors import LoanloopError, Unavailable
from loanloop_common.portfolio import ModelConfig, Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import create_pool

from loanloop_trainer.domain.ports import Ended, Exit
from loanloop_trainer.domain.split import TooFewDays
from loanloop_trainer.model import Hooks, Ranks, TrainingData, export, train
from loanloop_trainer.runner.causes import cause_of
from loanloop_trainer.runner.following import FollowerLost, Together, together
from loanloop_trainer.runner.lifeline import Lifeline
from loanloop_trainer.runner.loading import load_rows
from loanloop_trainer.runner.orders import Orders
from loanloop_trainer.runner.reporting import Reporter
from loanloop_trainer.runner.stalling import watch_progress
from loanloop_trainer.store.availability import DatabaseAway, reaching_database
from loanloop_trainer.store.claimed import ClaimedRunStore, FinishedModel, Run, RunLost

log = structlog.get_logger()


# How soon after a broken connection the end of a process is known.
LOSS_KNOWN_WITHIN_S = 2.0

Learnt = TypeVar("Learnt")
Gather = Callable[[Orders], AbstractAsyncContextManager[Together]]
Load = Callable[[Run, Portfolio], Awaitable[TrainingData]]


class Learn(Protocol):
    def __call__(
        self,
        data: TrainingData,
        portfolio: Portfolio,
        *,
        version: str,
        hyperparameters_from: str,
        seed: int,
        threads: int | None,
        hooks: Hooks,
        ranks: Ranks,
    ) -> bytes:
        """The bundle. Computes for minutes: call it in a thread."""
        ...


async def work_on(run_id: UUID, orders: Orders, lifeline: Lifeline) -> Exit:
    beating = asyncio.create_task(lifeline.run())
    ended = await result_of(run_id, orders, together)
    beating.cancel()
    if ended.cause is not None:
        lifeline.say_cause(ended.cause)
    if ended.code != Exit.ENDED:
        # A computation in a thread cannot be cancelled, and nobody wants its result.
        os._exit(ended.code)
    return Exit.ENDED


async def result_of(run_id: UUID, orders: Orders, gather: Gather) -> Ended:
    """Where it is not ENDED a computation may go on in a thread."""
    try:
        return Ended(await exit_of(_work(run_id, orders, gather), run_id))
    except FollowerLost as lost:
        log.error("training_process_lost", run_id=str(run_id), error=str(lost))
        return Ended(Exit.CRASHED, str(lost))
    except Exception as error:
        log.exception("training_crashed", run_id=str(run_id))
        return Ended(Exit.CRASHED, cause_of(error))


async def exit_of(work: Awaitable[None], run_id: UUID) -> Exit:
    """Raises what need not pass by itself, this machine's full disk too: the trainer counts a crash and resumes."""
    try:
        await work
    except RunLost as lost:
        log.warning("training_lost", run_id=str(run_id), reason=str(lost))
        return Exit.LOST
    except DatabaseAway as away:
        log.warning("training_waits_for_database", run_id=str(run_id), error=str(away))
        return Exit.TRY_LATER
    return Exit.ENDED


async def _work(run_id: UUID, orders: Orders, gather: Gather) -> None:
    with reaching_database():
        pool = await create_pool(orders.dsn, application_name="training", max_size=3)
    try:
        store = ClaimedRunStore(pool, run_id, orders.owner)
        work = Work(store, orders, partial(load_rows, pool, orders.read_only_dsn), together=gather)
        await work.finish_or_fail()
    finally:
        pool.terminate()


def learn(
    data: TrainingData,
    portfolio: Portfolio,
    *,
    version: str,
    hyperparameters_from: str,
    seed: int,
    threads: int | None,
    hooks: Hooks,
    ranks: Ranks,
) -> bytes:
    trained = train(data, portfolio, seed=seed, threads=threads, hooks=hooks, ranks=ranks)
    return export(
        trained,
        version=version,
        hyperparameters_from=hyperparameters_from,
        code_version=version_of("loanloop"),
        on_progress=hooks.on_progress,
    )


@dataclass(frozen=True)
class Work:
    """A claimed run, from its frozen rows to its end. Only what the database is asked for can be TRY_LATER."""

    store: ClaimedRunStore
    orders: Orders
    load: Load
    learn: Learn = learn
    together: Gather = together

    async def finish_or_fail(self) -> None:
        """With a model, or with the sentence that says why there can be none."""
        with reaching_database():
            run = await self.store.fetch_run()
        portfolio = _as_frozen(load_portfolio(self.orders.portfolio), run)
        reporter = Reporter(self.store, asyncio.get_running_loop())
        reporter.keep(allowed=dict(portfolio.warnings))
        try:
            stalling = watch_progress(reporter, stalls_after_s=self.orders.stalls_after_s)
            model = await _beside(self._trained(run, portfolio, reporter), reporter.run(), stalling)
            with reaching_database():
                version = await self.store.finish(model)
            log.info("model_trained", version=version, run_id=str(run.run_id), n_rows=model.n_rows, **model.metrics)
        except (RunLost, Unavailable):
            raise
        except (LoanloopError, TooFewDays) as problem:
            log.error("training_failed", run_id=str(run.run_id), reason=str(problem))
            with reaching_database():
                await self.store.fail(f"{problem}.")

    async def _trained(self, run: Run, portfolio: Portfolio, reporter: Reporter) -> FinishedModel:
        reporter.report("load", of=run.n_frozen)
        with reaching_database():
            data = await self.load(run, portfolio)
            log.info("loans_loaded", run_id=str(run.run_id), n_rows=len(data), n_unlabelled=data.n_unlabelled)
            checkpoint = await self.store.fetch_checkpoint()
            version = await self.store.fetch_next_version()
        hooks = reporter.hooks(checkpoint, checkpoint_every_s=self.orders.checkpoint_every_s)
        learn = partial(self.learn, version=version, hyperparameters_from=run.hyperparameters_from, seed=run.seed)
        async with self.together(self.orders) as group:
            learning = asyncio.to_thread(
                learn, data, portfolio, threads=self.orders.threads_each, hooks=hooks, ranks=group.ranks
            )
            bundle = await unless_lost(learning, group)
        return _finished(bundle, portfolio)


def _as_frozen(portfolio: Portfolio, run: Run) -> Portfolio:
    """A resumed run keeps the hyperparameters it was made with, whatever the file says by now."""
    return portfolio.model_copy(update={"model": ModelConfig.model_validate(run.hyperparameters)})


async def _beside(work: Coroutine[Any, Any, FinishedModel], *endless: Coroutine[Any, Any, None]) -> FinishedModel:
    """Raises what ends one of the `endless`, heartbeat and watch, before the work has ended."""
    training, watches = asyncio.create_task(work), [asyncio.create_task(each) for each in endless]
    try:
        await asyncio.wait({training, *watches}, return_when=asyncio.FIRST_COMPLETED)
        for watch in watches:
            if watch.done():
                await watch
        return await training
    finally:
        for task in (training, *watches):
            task.cancel()
        await asyncio.wait(watches)


async def unless_lost(learning: Coroutine[Any, Any, Learnt], group: Together) -> Learnt:
    """Raises FollowerLost rather than what its loss makes of this process's own next step."""
    computing, watching = asyncio.create_task(learning), asyncio.create_task(group.watch())
    try:
        await asyncio.wait({computing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not computing.done():
            await watching
            await asyncio.wait({computing})
        if computing.exception() is not None:
            # The connection to a lost process breaks a moment before its end is known.
            await asyncio.wait({watching}, timeout=LOSS_KNOWN_WITHIN_S)
            if watching.done():
                await watching
        return await computing
    finally:
        computing.cancel()
        watching.cancel()


def _finished(data: bytes, portfolio: Portfolio) -> FinishedModel:
    bundle: Bundle = unpack(data)
    manifest = bundle.manifest
    return FinishedModel(
        version=manifest.version,
        bundle=data,
        sha256=hashlib.sha256(data).digest(),
        schema_hash=manifest.schema_hash,
        portfolio=portfolio.name,
        train_from=manifest.train_from,
        train_to=manifest.train_to,
        n_rows=manifest.n_rows,
        metrics=manifest.metrics,
        manifest=manifest.model_dump(mode="json"),
    )
