"""The trainer's look at real processes: one that hangs is killed, one that is slow or has no database is not."""

import asyncio
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from uuid import uuid4

import pytest
from loanloop_trainer.domain.ports import Ended, Exit
from loanloop_trainer.runner.process import train_in_child
from loanloop_trainer.runner.watching import watched

from tests.support.tiny_portfolio import write_tiny_portfolio
from tests.support.training_orders import make_orders

HANGS_AFTER_S = 3.0
STARTS_WITHIN_S = 30.0
SAYS_SO_AND_SLEEPS = 'sys.stderr.write("works\\n"); time.sleep({})'
KILLED = Ended(-signal.SIGKILL, "the training process gave no sign of life for 3 s and was killed")


async def started(work: str, *, first: str = "", starts_within_s: float = STARTS_WITHIN_S) -> Process:
    """A process with the training's lifeline that works as it is told and has come to that when this returns.

    `first` is what it does before there is an event loop.
    """
    program = f"""
import asyncio, sys, time
from loanloop_trainer.runner.lifeline import Lifeline

async def main():
    beating = asyncio.create_task(lifeline.run())
    await asyncio.sleep(0.1)
    sys.stderr.write("works\\n")
    {work}

lifeline = Lifeline.on_standard_output(beat_every_s=0.2)
lifeline.beat_while_starting(within_s={starts_within_s})
{first}
asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=PIPE, stderr=PIPE)
    assert child.stderr is not None
    assert await asyncio.wait_for(child.stderr.readline(), STARTS_WITHIN_S) == b"works\n"
    return child


async def test_process_that_is_stopped_is_killed() -> None:
    child = await started("await asyncio.sleep(600)")
    child.send_signal(signal.SIGSTOP)

    assert await asyncio.wait_for(watched(child, hangs_after_s=HANGS_AFTER_S), 30) == KILLED


async def test_process_whose_event_loop_hangs_is_killed() -> None:
    child = await started("time.sleep(600)")

    assert await asyncio.wait_for(watched(child, hangs_after_s=HANGS_AFTER_S), 30) == KILLED


async def test_process_that_hangs_before_it_has_an_event_loop_is_killed() -> None:
    child = await started("", first=SAYS_SO_AND_SLEEPS.format(600), starts_within_s=1)

    assert await asyncio.wait_for(watched(child, hangs_after_s=HANGS_AFTER_S), 30) == KILLED


async def test_process_that_starts_slowly_is_left_alone() -> None:
    child = await started("sys.exit(7)", first=SAYS_SO_AND_SLEEPS.format(2 * HANGS_AFTER_S))

    assert await watched(child, hangs_after_s=HANGS_AFTER_S) == Ended(7)


async def test_process_that_gives_signs_of_life_is_left_alone_whatever_it_prints() -> None:
    child = await started(f"print('x' * 50_000); await asyncio.sleep({1.5 * HANGS_AFTER_S}); sys.exit(7)")

    assert await watched(child, hangs_after_s=HANGS_AFTER_S) == Ended(7)


@pytest.mark.parametrize(
    ("raised", "ended"),
    [
        (
            'RuntimeError("can\'t allocate\\n 133 GB")',
            (1, "the training process ended with RuntimeError: can't allocate 133 GB"),
        ),
        ("FollowerLost(1, 2, -9)", (1, "process 2 of 2 of this training was killed by SIGKILL")),
    ],
)
async def test_training_that_crashes_says_why(raised: str, ended: tuple[int, str]) -> None:
    program = f"""
import asyncio
from uuid import uuid4
from loanloop_trainer.runner import training
from loanloop_trainer.runner.following import FollowerLost
from loanloop_trainer.runner.lifeline import Lifeline

async def crash(run_id, orders, gather):
    raise {raised}

training._work = crash
asyncio.run(training.work_on(uuid4(), None, Lifeline.on_standard_output()))
"""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=PIPE)

    assert await watched(child, hangs_after_s=60) == Ended(*ended)


async def test_time_in_which_the_trainer_was_held_up_counts_for_nothing() -> None:
    child = await started("await asyncio.sleep(3); sys.exit(7)")
    watching = asyncio.create_task(watched(child, hangs_after_s=HANGS_AFTER_S))
    await asyncio.sleep(0.5)

    child.send_signal(signal.SIGSTOP)
    time.sleep(1.5 * HANGS_AFTER_S)  # noqa: TID251, ASYNC251 - as a machine that was suspended
    child.send_signal(signal.SIGCONT)

    assert await watching == Ended(7)


async def test_training_whose_database_does_not_answer_is_no_training_that_hangs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"postgresql://loanloop@127.0.0.1:{silent.getsockname()[1]}/loanloop"
        orders = make_orders(portfolio=str(write_tiny_portfolio(tmp_path)), dsn=dsn)
        began = time.monotonic()

        ended = await train_in_child(uuid4(), orders, hangs_after_s=6)

    assert ended == Ended(Exit.TRY_LATER)
    assert time.monotonic() - began > 6
