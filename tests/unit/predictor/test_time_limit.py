"""One timer for many tasks."""

import asyncio

import pytest
from loanloop_predictor.api.time_limit import TimeLimit

from tests.support.eventually import eventually


async def outlasting(limit: TimeLimit, started: list[int]) -> str:
    try:
        with limit:
            started.append(1)
            await asyncio.Event().wait()
    except TimeoutError:
        return "too late"
    return "in time"


async def test_only_those_that_are_inside_too_long_are_ended() -> None:
    limit, started = TimeLimit(0.5), list[int]()
    first = asyncio.create_task(outlasting(limit, started))
    for _ in range(20):
        with limit:
            await asyncio.sleep(0.03)
    second = asyncio.create_task(outlasting(limit, started))
    assert await first == "too late"
    assert await second == "too late"
    with limit:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.7)  # outside, the limit holds no more


async def test_task_that_is_cancelled_by_another_stays_cancelled() -> None:
    limit, started = TimeLimit(60), list[int]()
    task = asyncio.create_task(outlasting(limit, started))
    await eventually(lambda: started)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_the_task_raises_itself_comes_out_as_it_is() -> None:
    limit = TimeLimit(60)
    with pytest.raises(ValueError, match="mine"), limit:
        raise ValueError("mine")
