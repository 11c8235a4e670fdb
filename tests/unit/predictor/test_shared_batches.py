"""Requests that share a batch."""

import asyncio
from collections.abc import Sequence

import pytest
from loanloop_predictor.serving.shared_batches import SharedBatches

from tests.support.eventually import eventually


class Doubling:
    """Doubles numbers, one batch at a time, when the gate is open; 13 is bad luck for its whole batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        await self.gate.wait()
        if 13 in numbers:
            raise ValueError("13")
        return [2 * number for number in numbers]


async def test_lone_request_does_not_wait() -> None:
    work = Doubling()
    work.gate.set()
    assert await SharedBatches(work, max_items=10).submit([4]) == [8]
    assert work.batches == [[4]]


async def test_what_queues_up_goes_together_up_to_the_limit_and_each_gets_its_own() -> None:
    work = Doubling()
    shared = SharedBatches(work, max_items=4)
    asked = [asyncio.create_task(shared.submit(items)) for items in ([1], [2, 3], [4], [5, 6])]
    await eventually(lambda: work.batches)
    work.gate.set()
    assert await asyncio.gather(*asked) == [[2], [4, 6], [8], [10, 12]]
    assert [number for batch in work.batches for number in batch] == [1, 2, 3, 4, 5, 6]
    assert max(len(batch) for batch in work.batches) <= 4
    assert len(work.batches) < 4


async def test_failure_reaches_those_of_its_batch_only() -> None:
    work = Doubling()
    work.gate.set()
    shared = SharedBatches(work, max_items=1)
    answers = await asyncio.gather(shared.submit([1]), shared.submit([13]), shared.submit([2]), return_exceptions=True)
    assert answers[0] == [2]
    assert isinstance(answers[1], ValueError)
    assert answers[2] == [4]


async def test_request_that_is_given_up_disturbs_no_other() -> None:
    work = Doubling()
    shared = SharedBatches(work, max_items=10)
    gone, stays = asyncio.create_task(shared.submit([1])), asyncio.create_task(shared.submit([2]))
    await asyncio.sleep(0)
    gone.cancel()
    work.gate.set()
    assert await stays == [4]
    with pytest.raises(asyncio.CancelledError):
        await gone
