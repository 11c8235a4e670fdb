"""The limit that the benchmark `stream` is measured against."""

import pytest

from bench.engines import LIMITS, SERVED
from bench.stream import BareForwards, limit_of
from bench.workload import encoded


@pytest.mark.parametrize("faster", LIMITS)
def test_the_limit_is_the_faster_arrangement_whatever_serves(faster: str) -> None:
    assert limit_of({SERVED: 300.0, **dict.fromkeys(LIMITS, 100.0), faster: 120.0}) == faster


def test_both_arrangements_are_measured_and_what_serves() -> None:
    bare = BareForwards()
    try:
        bare.measure(encoded().rows(slice(0, 200)), 0.01)
    finally:
        bare.close()

    assert set(bare.per_s()) == {SERVED, *LIMITS}
    assert all(per_s > 0 for per_s in bare.per_s().values())
