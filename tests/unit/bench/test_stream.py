"""The limit that the benchmark `stream` is measured against."""

import pytest

from bench.engines import LIMITS, SERVED
from bench.result import Row
from bench.stream import BareForwards, Measured, _next, limit_of, time_goes
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


def cost(what: str, us: float) -> Row:
    return {"what": what, "cpu_us_per_loan": us}


STEPS = [cost("predictor: decode", 5.0), cost("predictor: forward pass", 60.0)]


def measured(predictor_us: float) -> Measured:
    servers = [
        cost("process: PostgreSQL", 13.0),
        cost("process: Kafka", 17.0),
        cost("Kafka, while loans were sent", 90.0),
    ]
    return Measured(1.0, {}, [*servers, cost("process: predictor", predictor_us)], STEPS, [])


def test_the_rows_of_a_process_add_up_to_what_it_took() -> None:
    steps = [row for row in time_goes(measured(100.0)) if row["what"].startswith("predictor: ")]

    assert steps[-1] == cost("predictor: all else", 35.0)
    assert sum(row["cpu_us_per_loan"] for row in steps) == 100.0


@pytest.mark.parametrize(
    ("predictor_us", "said"), [(100.0, "the predictor outside its forward pass, 40.0 us"), (70.0, "Kafka, 17.0 us")]
)
def test_the_next_bottleneck_is_who_takes_most_besides_the_forward_pass(predictor_us: float, said: str) -> None:
    assert _next(measured(predictor_us)) == f"After the forward pass the next bottleneck is {said} a loan."
