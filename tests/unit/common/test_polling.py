"""A poller looks now and again, whatever a look raises."""

import asyncio
from functools import partial

import pytest
from loanloop_common.background import FATAL, in_background
from loanloop_common.polling import Poller

from tests.support.eventually import eventually


class Looks:
    def __init__(self, failing: int = 0) -> None:
        self.n = 0
        self.at_once = 0
        self.most_at_once = 0
        self._failing = failing

    def has_looked(self, n: int) -> bool:
        return self.n >= n

    async def look(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        self.n += 1
        if self.n <= self._failing:
            raise RuntimeError("the test says no")


async def test_looks_at_once_and_then_every_so_often() -> None:
    looks = Looks()
    poller = Poller(looks.look, every_s=0.01, name="test")

    await poller.start()
    await eventually(lambda: looks.n >= 3)
    await poller.stop()

    assert looks.most_at_once == 1


async def test_wake_is_a_look_now_also_while_one_is_under_way() -> None:
    looks = Looks()
    poller = Poller(looks.look, every_s=3600, name="test")
    await poller.start()
    await eventually(lambda: looks.n == 1)

    for expected in range(2, 6):
        poller.wake()
        await eventually(partial(looks.has_looked, expected))
    await poller.stop()

    assert looks.n == 6


async def test_look_that_raises_is_shown_and_repeated() -> None:
    looks = Looks(failing=1)
    poller = Poller(looks.look, every_s=0.01, name="test")

    await poller.start()
    await eventually(lambda: poller.state == "failing")
    await eventually(lambda: poller.state == "looking")
    await poller.stop()

    assert looks.n >= 2
    assert poller.state == "stopped"


async def test_wake_ups_do_not_make_a_look_that_fails_hurry() -> None:
    looks = Looks(failing=1000)
    poller = Poller(looks.look, every_s=3600, name="test")
    await poller.start()
    await eventually(lambda: looks.n == 1)

    for _ in range(20):
        poller.wake()
        await asyncio.sleep(0.01)
    n_looks = looks.n
    await eventually(partial(looks.has_looked, 2))  # a wake-up shortens the pause all the same
    await poller.stop()

    assert n_looks == 1


async def test_wake_ups_that_come_together_are_one_look() -> None:
    looks = Looks()
    poller = Poller(looks.look, every_s=3600, gather_s=0.2, name="test")
    await poller.start()
    await eventually(lambda: looks.n == 1)

    for _ in range(5):
        poller.wake()
        await asyncio.sleep(0.01)
    await eventually(lambda: looks.n == 2)
    await poller.stop()

    assert looks.n == 3  # the last one at stop


async def test_stop_cancels_a_look_that_may_take_hours() -> None:
    looks = 0

    async def look_for_hours() -> None:
        nonlocal looks
        looks += 1
        await asyncio.Event().wait()

    poller = Poller(look_for_hours, every_s=3600, cancel_on_stop=True, name="test")
    await poller.start()
    await eventually(lambda: looks == 1)

    await asyncio.wait_for(poller.stop(), timeout=5)

    assert (looks, poller.state) == (1, "stopped")


async def test_cancelled_look_that_raises_something_else_is_not_repeated() -> None:
    looks = 0

    async def fail_at_the_end() -> None:
        nonlocal looks
        looks += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("the test says no") from None

    poller = Poller(fail_at_the_end, every_s=3600, cancel_on_stop=True, name="test")
    await poller.start()
    await eventually(lambda: looks == 1)

    await asyncio.wait_for(poller.stop(), timeout=5)

    assert looks == 1


async def test_stop_looks_a_last_time() -> None:
    looks = Looks()
    poller = Poller(looks.look, every_s=3600, name="test")
    await poller.start()
    await eventually(lambda: looks.n == 1)

    await poller.stop()

    assert looks.n == 2


async def test_cancelled_error_that_nobody_asked_for_is_a_look_that_failed() -> None:
    answers = iter([asyncio.CancelledError(), None])

    async def look() -> None:
        if stray := next(answers, None):
            raise stray

    poller = Poller(look, every_s=0.01, name="test")
    await poller.start()
    await eventually(lambda: poller.state == "failing")
    await eventually(lambda: poller.state == "looking")
    await poller.stop()


async def test_background_task_that_ends_as_cancelled_is_a_crash_unless_it_was_cancelled() -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context[FATAL]))

    async def raise_stray() -> None:
        raise asyncio.CancelledError

    stray, asked = in_background(raise_stray(), name="stray"), in_background(asyncio.sleep(3600), name="asked")
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait({stray, asked})
    await asyncio.sleep(0)

    assert told == ["stray"]


@pytest.mark.parametrize("failing", [0, 1])
async def test_start_waits_for_the_end_of_the_first_look_where_it_is_told_to(failing: int) -> None:
    looks = Looks(failing)
    poller = Poller(looks.look, every_s=3600, name="test", first_within_s=60)

    await poller.start()

    assert looks.n == 1
    await poller.stop()


async def test_start_goes_on_without_a_first_look_that_takes_too_long() -> None:
    asked = asyncio.Event()
    poller = Poller(asked.wait, every_s=3600, name="test", first_within_s=0.05)

    await poller.start()

    assert poller.state == "looking"
    asked.set()
    await poller.stop()
