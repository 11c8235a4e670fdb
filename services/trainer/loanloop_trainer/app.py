"""Composition root of the trainer: `python -m loanloop_trainer.app`."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from loanloop_common.events import Topic
from loanloop_common.kafka import BatchConsumer
from loanloop_common.lifecycle import Foundation, Part, run_service
from loanloop_common.outbox import OutboxRelay
from loanloop_common.polling import Poller

from loanloop_trainer.config import TrainerSettings
from loanloop_trainer.domain.ports import TrainInChild
from loanloop_trainer.handlers import Retraining, TrainingWatch, make_poller
from loanloop_trainer.runner.orders import Orders
from loanloop_trainer.runner.process import train_in_child
from loanloop_trainer.store.progress import ProgressStore
from loanloop_trainer.store.runs import RunStore

SERVICE = "trainer"

# Of a run's heartbeat: later than another trainer would take the run over, for a machine that is only slow loses work.
HANGS_AFTER_STALE = 8


def make_orders(settings: TrainerSettings, owner: str) -> Orders:
    return Orders(
        parent_pid=os.getpid(),
        owner=owner,
        portfolio=settings.portfolio,
        dsn=settings.postgres.dsn,
        read_only_dsn=settings.postgres.read_only_dsn,
        processes=settings.trainer.processes,
        threads=settings.trainer.threads,
        niceness=settings.trainer.niceness,
        checkpoint_every_s=settings.trainer.checkpoint_every_s,
        stalls_after_s=settings.trainer.stalls_after_s,
        log_format=settings.log_format,
        log_level=settings.log_level,
    )


def _in_child(settings: TrainerSettings, owner: str) -> TrainInChild:
    hangs_after_s = HANGS_AFTER_STALE * settings.trainer.stale_after_s
    return partial(train_in_child, orders=make_orders(settings, owner), hangs_after_s=hangs_after_s)


def make_retraining(base: Foundation[TrainerSettings]) -> Retraining:
    settings = base.settings
    # A restarted trainer of the same name must not take its dead predecessor's run for its own.
    owner = f"{settings.instance_id}/{uuid4().hex[:8]}"
    return Retraining(
        RunStore(base.pool, base.portfolio),
        base.portfolio.policy,
        _in_child(settings, owner) if settings.trainer.processes else None,
        owner=owner,
        seed=settings.trainer.seed,
        poll_s=settings.trainer.poll_s,
        stale_after_s=settings.trainer.stale_after_s,
        on_change=lambda doing: base.heartbeat.update(detail={"doing": doing}),
    )


async def build(base: Foundation[TrainerSettings]) -> Sequence[Part]:
    retraining = make_poller(make_retraining(base), every_s=base.settings.trainer.poll_s)

    async def wake(_records: Sequence[Any]) -> None:  # what they say is in the database, or will be
        retraining.wake()

    consumer = BatchConsumer(
        base.broker,
        Topic.LOAN_RECEIVED,
        Topic.LOAN_OUTCOME,
        Topic.MODEL_EVALUATED,
        group=SERVICE,
        handle=wake,
        name=SERVICE,
    )
    watch = TrainingWatch(ProgressStore(base.pool))
    progress = Poller(watch.look, every_s=base.settings.trainer.poll_s, name="progress")
    return [OutboxRelay(base.pool, base.broker, service=SERVICE), retraining, progress, consumer]


if __name__ == "__main__":
    sys.exit(run_service(SERVICE, TrainerSettings, build))
