"""Entry point of each process that torchrun starts, on one machine or on many; together they train one run and end.

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m loanloop_trainer.torchrun

The settings are the trainer's. The first process claims the run that waits, or asks for one, but not after a restart;
the others need neither database nor Kafka. Docs: docs/decisions/0045.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from uuid import UUID, uuid4

from loanloop_common.errors import LoanloopError
from loanloop_common.garbage_collection import spare_collector
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.postgres import create_pool
from loanloop_common.settings import load_settings
from loanloop_common.telemetry import set_up_logging

from loanloop_trainer.app import make_orders
from loanloop_trainer.config import TorchrunSettings
from loanloop_trainer.domain.ports import Ended, Exit, TrainInChild
from loanloop_trainer.handlers import Retraining
from loanloop_trainer.model import Ranks, follow
from loanloop_trainer.runner.following import Together
from loanloop_trainer.runner.orders import Orders
from loanloop_trainer.runner.reporting import end_undefined
from loanloop_trainer.runner.training import result_of
from loanloop_trainer.store.runs import RunStore


class NothingToTrain(LoanloopError):
    """No run waits, and none was made."""


def main() -> int:
    try:
        return _train_or_follow(load_settings(TorchrunSettings))
    except LoanloopError as error:
        sys.stderr.write(f"loanloop-trainer: {error}\n")
        return 1


def _train_or_follow(settings: TorchrunSettings) -> int:
    set_up_logging("trainer", log_format=settings.log_format, level=settings.log_level)
    os.nice(settings.trainer.niceness)
    ranks = Ranks.by_torchrun()
    if ranks.rank > 0:
        with end_undefined() as on_progress:
            follow(ranks, threads=settings.trainer.threads or 1, on_progress=on_progress)
        return 0
    spare_collector()
    return asyncio.run(train_one(settings, load_portfolio(settings.portfolio), ranks))


async def train_one(settings: TorchrunSettings, portfolio: Portfolio, ranks: Ranks) -> int:
    """In the first process. Raises NothingToTrain."""
    owner = f"{settings.instance_id}/{uuid4().hex[:8]}"
    # One thread a process unless it is said: torchrun starts as many processes as there are cores.
    orders = make_orders(settings, owner).model_copy(update={"threads": settings.trainer.threads or 1})
    ended: list[Ended] = []

    @asynccontextmanager
    async def as_torchrun_did(_orders: Orders) -> AsyncIterator[Together]:
        yield Together(ranks)

    async def train_here(run_id: UUID) -> Ended:
        ended.append(await result_of(run_id, orders, as_torchrun_did))
        return ended[-1]

    pool = await create_pool(settings.postgres.dsn, application_name="trainer", max_size=3)
    try:
        runs = RunStore(pool, portfolio)
        await _work_on_one(_retraining(runs, settings, portfolio, train_here, owner), runs, settings)
    finally:
        pool.terminate()
    code = ended[-1].code if ended else Exit.CRASHED  # before: so often that the run has failed now
    if code != Exit.ENDED:
        os._exit(code)  # a computation may go on in a thread
    return code


async def _work_on_one(retraining: Retraining, runs: RunStore, settings: TorchrunSettings) -> None:
    """Waits for one whose process was killed, until its heartbeat has been missed for long enough."""
    if not settings.restarts:
        made = await runs.request_run(seed=settings.trainer.seed, requested_by="torchrun")
        if made is not None and (error := (await runs.fetch_facts(made)).error):
            raise NothingToTrain(f"the training can't be made: {error}")
    until = monotonic() + settings.trainer.stale_after_s + settings.trainer.poll_s
    while not await retraining.work_on_next():
        if not (await runs.fetch_situation()).run_is_open:
            raise NothingToTrain("the training has ended (loanloop status says how), and a restart asks for no other")
        if monotonic() > until:
            raise NothingToTrain("another process works on the training that is under way (loanloop status)")
        await asyncio.sleep(settings.trainer.poll_s)


def _retraining(
    runs: RunStore, settings: TorchrunSettings, portfolio: Portfolio, train: TrainInChild, owner: str
) -> Retraining:
    return Retraining(
        runs,
        portfolio.policy,
        train,
        owner=owner,
        seed=settings.trainer.seed,
        poll_s=settings.trainer.poll_s,
        stale_after_s=settings.trainer.stale_after_s,
        on_change=lambda _doing: None,
    )


if __name__ == "__main__":
    sys.exit(main())
