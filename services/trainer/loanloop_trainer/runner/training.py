"""One run from its frozen rows to a stored model."""

import asyncio
import hashlib
import math
import os
from contextlib import AsyncExitStack
from importlib.metadata import version as version_of
from typing import Any
from uuid import UUID

import structlog
from loanloop_common.bundle import Bundle, unpack
from loanloop_common.errors import LoanloopError, Unavailable
from loanloop_common.portfolio import ModelConfig, Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import UNREACHABLE, Pool, create_pool

from loanloop_trainer.domain.audit import Finding
from loanloop_trainer.domain.ports import Exit
from loanloop_trainer.domain.split import TooFewDays
from loanloop_trainer.model import Progress, TrainingData, export, train
from loanloop_trainer.runner.loading import load_rows
from loanloop_trainer.runner.orders import Orders
from loanloop_trainer.runner.reporting import Reporter
from loanloop_trainer.store.claimed import ClaimedRunStore, FinishedModel, Run, RunLost

log = structlog.get_logger()


class LossUndefined(LoanloopError):
    """The loss is no number any more; nothing can be learnt from here on."""

    def __init__(self, phase: str, step: int) -> None:
        super().__init__(
            f"the loss is no number any more at step {step} of the phase {phase}: lower learning_rate in the "
            "portfolio file's [model]"
        )


async def work_on(run_id: UUID, orders: Orders) -> Exit:
    """Raises what is nobody's fault but this code's: the trainer then counts a crash and resumes the run."""
    try:
        async with AsyncExitStack() as stack:
            pool = await _connected(stack, orders.dsn)
            store = ClaimedRunStore(pool, run_id, orders.owner)
            await _finish_or_fail(store, pool, orders)
    except RunLost as lost:
        log.warning("training_lost", run_id=str(run_id), reason=str(lost))
        # A computation in a thread cannot be cancelled, and nobody wants its result.
        os._exit(Exit.LOST)
    except (Unavailable, *UNREACHABLE) as away:
        log.warning("training_waits_for_database", run_id=str(run_id), error=repr(away))
        os._exit(Exit.TRY_LATER)
    return Exit.ENDED


async def _connected(stack: AsyncExitStack, dsn: str) -> Pool:
    pool = await create_pool(dsn, application_name="training", max_size=3)
    stack.callback(pool.terminate)
    return pool


async def _finish_or_fail(store: ClaimedRunStore, pool: Pool, orders: Orders) -> None:
    run = await store.fetch_run()
    portfolio = _as_frozen(load_portfolio(orders.portfolio), run)
    reporter = Reporter(store, asyncio.get_running_loop())
    reporter.keep(allowed=dict(portfolio.warnings))
    try:
        model = await _beside_heartbeat(_trained(store, pool, run, portfolio, reporter, orders), reporter)
        version = await store.finish(model)
        log.info("model_trained", version=version, run_id=str(run.run_id), n_rows=model.n_rows, **model.metrics)
    except (RunLost, Unavailable):
        raise
    except (LoanloopError, TooFewDays) as problem:
        log.error("training_failed", run_id=str(run.run_id), reason=str(problem))
        await store.fail(f"{problem}.")


def _as_frozen(portfolio: Portfolio, run: Run) -> Portfolio:
    """A resumed run keeps the hyperparameters it was made with, whatever the file says by now."""
    return portfolio.model_copy(update={"model": ModelConfig.model_validate(run.hyperparameters)})


async def _beside_heartbeat(work: Any, reporter: Reporter) -> FinishedModel:
    training: asyncio.Task[FinishedModel] = asyncio.create_task(work)
    beating = asyncio.create_task(reporter.run())
    try:
        await asyncio.wait({training, beating}, return_when=asyncio.FIRST_COMPLETED)
        if beating.done():
            await beating
        return await training
    finally:
        training.cancel()
        beating.cancel()
        await asyncio.wait({beating})


async def _trained(
    store: ClaimedRunStore,
    pool: Pool,
    run: Run,
    portfolio: Portfolio,
    reporter: Reporter,
    orders: Orders,
) -> FinishedModel:
    reporter.report("load", of=run.n_rows)
    data = await load_rows(pool, orders.read_only_dsn, run, portfolio)
    checkpoint = await store.fetch_checkpoint()
    version = await store.fetch_next_version()
    bundle = await asyncio.to_thread(_bundle_of, data, portfolio, run, version, checkpoint, reporter, orders)
    return _finished(bundle, portfolio)


def _bundle_of(
    data: TrainingData,
    portfolio: Portfolio,
    run: Run,
    version: str,
    checkpoint: bytes | None,
    reporter: Reporter,
    orders: Orders,
) -> bytes:
    def on_progress(progress: Progress) -> None:
        if progress.loss is not None and not math.isfinite(progress.loss):
            raise LossUndefined(progress.phase, progress.step)
        facts = progress.to_dict()
        reporter.report(facts.pop("phase"), **facts)

    def on_audit(findings: list[Finding]) -> None:
        reporter.keep(audit_warnings={f.feature: f.warning for f in findings if f.warning is not None})

    trained = train(
        data,
        portfolio,
        seed=run.seed,
        threads=orders.threads or None,
        on_progress=on_progress,
        on_audit=on_audit,
        load_checkpoint=lambda: checkpoint,
        save_checkpoint=reporter.checkpoint,
        checkpoint_every_s=orders.checkpoint_every_s,
    )
    return export(trained, version=version, code_version=version_of("loanloop"), on_progress=on_progress)


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
