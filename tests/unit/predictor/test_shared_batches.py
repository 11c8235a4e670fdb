"""Requests that share a batch."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest
from loanloop_predictor.serving.shared_batches import Finish, SharedBatches

from tests.support.eventually import eventually


class Doubling:
    """Doubles numbers, one batch at a time, when the gate is open; 13 is bad luck for its whole batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate, self.last_gate = asyncio.Event(), asyncio.Event()
        self.last_gate.set()
        self.n_finishing = self.most_finishing = 0

    async def __call__(self, numbers: Sequence[int]) -> Finish[int]:
        self.batches.append(list(numbers))
        await self.gate.wait()
        if 13 in numbers:
            raise ValueError("13")
        return partial(self._finish, numbers)

    async def _finish(self, numbers: Sequence[int]) -> list[int]:
        self.n_finishing += 1
        self.most_finishing = max(self.most_finishing, self.n_finishing)
        await self.last_gate.wait()
        self.n_finishing -= 1
        if 14 in numbers:
            raise ValueError("14")
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


async def test_a_batch_is_begun_while_the_one_before_is_finished_and_finished_after_it() -> None:
    work = Doubling()
    work.gate.set()
    work.last_gate.clear()
    shared = SharedBatches(work, max_items=2)
    asked = [asyncio.create_task(shared.submit([number])) for number in range(6)]
    await eventually(lambda: len(work.batches) == 2)
    await asyncio.sleep(0.05)  # nothing more is begun: two are under way
    assert (len(work.batches), work.n_finishing) == (2, 1)
    work.last_gate.set()
    assert await asyncio.gather(*asked) == [[2 * number] for number in range(6)]
    assert work.most_finishing == 1


async def test_failure_reaches_those_of_its_batch_only() -> None:
    work = Doubling()
    work.gate.set()
    shared = SharedBatches(work, max_items=1)
    asked = [shared.submit([number]) for number in (1, 13, 2, 14, 3)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, BaseException)] == [[2], [4], [6]]
    assert [str(answers[1]), str(answers[3])] == ["13", "14"]


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
