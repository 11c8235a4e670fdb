"""What a benchmark waits for: seen as it comes, and given up where it comes no further."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from bench.progress import seen_until


def counter(numbers: Sequence[int]) -> Callable[[], Awaitable[int]]:
    """Each number in its turn, then the last one for ever."""
    left = list(numbers)

    async def look() -> int:
        return left.pop(0) if len(left) > 1 else left[0]

    return look


async def test_each_number_is_seen_once_until_all_is_done() -> None:
    seen = await seen_until(900, counter([0, 0, 500, 500, 900, 1000]), "loans are decided", look_every_s=0.001)

    assert [n for _, n in seen] == [0, 500, 900]
    assert [at for at, _ in seen] == sorted(at for at, _ in seen)


async def test_what_stands_still_is_given_up_with_what_there_is_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.progress.STALLED_AFTER_S", 0.05)

    with pytest.raises(RuntimeError, match=r"^1,200 of 4,000 loans are decided, and no more in 0\.05 s$"):
        await seen_until(4000, counter([0, 1200]), "loans are decided", look_every_s=0.001)


async def test_a_time_that_is_over_ends_the_looks_with_what_was_seen() -> None:
    seen = await seen_until(4000, counter([0, 1200]), "loans are scored", look_every_s=0.001, at_most_s=0.05)

    assert [n for _, n in seen] == [0, 1200]
