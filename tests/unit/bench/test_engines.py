"""The benchmark `engines` judges what serves, and nothing else."""

import numpy as np
import pytest
import torch
from loanloop_common.features import EncodedBatch, Floats
from loanloop_trainer.model.exporting import onnx_of
from loanloop_trainer.model.loans import inputs_of

from bench.engine_sessions import Served, Session, log_odds, same_bits
from bench.engines import (
    COLUMNS,
    FASTEST,
    LIMITS,
    SERVED,
    TOLERANCE,
    fast_path_of,
    goals_of,
    limit_of,
    limits_of,
    tried,
)
from bench.report import _section
from bench.result import Found, Result, Row
from bench.runtimes import torch_of
from bench.workload import encoded, make_network


def row(engine: str, rows_per_s: float, *, error: float = 0.0, same: bool = True) -> Row:
    return {"engine": engine, FASTEST: rows_per_s, "log_odds_error": error, "same_bits": same}


EACH, ONE = LIMITS
MEASURED = [row(EACH, 100.0), row(ONE, 120.0)]


def test_the_limit_is_the_faster_arrangement() -> None:
    assert limit_of([*MEASURED, row("OpenVINO, served form", 200.0)]) == 120.0


def test_what_serves_can_be_slower_than_the_limit_whatever_another_engine_does() -> None:
    (goal,) = goals_of([row(SERVED, 90.0), *MEASURED, row("OpenVINO, served form", 200.0)])

    assert (goal.value, goal.reached) == (0.75, False)


@pytest.mark.parametrize("inexact", [row(SERVED, 200.0, error=1e-2), row(SERVED, 200.0, same=False)])
def test_what_serves_inexactly_is_no_goal_reached(inexact: Row) -> None:
    (goal,) = goals_of([inexact, *MEASURED])

    assert goal.value is None
    assert not goal.reached


def test_logits_of_two_classes_are_compared_as_log_odds() -> None:
    assert log_odds(np.array([[1.0, 3.0]], np.float32)).tolist() == [2.0]


def test_what_serves_is_the_scorer_with_the_same_bits_in_each_batch() -> None:
    served = Served(2)
    try:
        assert same_bits(served)
        assert len(served(encoded().rows(slice(0, 5)))) == 5
    finally:
        served.close()


class Constant:
    """Scores each loan alike, at once."""

    def __init__(self, threads: int) -> None: ...

    def __call__(self, batch: EncodedBatch) -> Floats:
        return np.zeros(len(batch.x_cat))

    def close(self) -> None: ...


def no_engine(threads: int) -> Constant:
    raise ImportError(f"no kernel\nfor {threads} threads")


def test_an_engine_that_fails_says_its_error_in_the_table_and_as_it_happens() -> None:
    said: list[str] = []

    failed = tried("OpenVINO, bf16", no_engine, np.zeros(0), 0.001, said.append)

    assert failed == {
        "engine": "OpenVINO, bf16",
        "note": r"does not run here: ImportError('no kernel\nfor 1 threads')",
    }
    assert said == ["OpenVINO, bf16", r"OpenVINO, bf16: ImportError('no kernel\nfor 1 threads')"]


@pytest.mark.parametrize("name", [SERVED, *LIMITS])
def test_without_what_serves_or_a_limit_nothing_is_judged(name: str) -> None:
    with pytest.raises(ImportError, match="no kernel"):
        tried(name, no_engine, np.zeros(0), 0.001, print)


def test_both_arrangements_of_the_limit_give_the_same_log_odds() -> None:
    example = inputs_of(encoded().rows(slice(0, 4)), torch.device("cpu"))
    sessions = [Session(engine, 2) for engine in limits_of(onnx_of(make_network(), example))]
    few = encoded().rows(slice(0, 300))
    try:
        each, one = (session(few) for session in sessions)
    finally:
        for session in sessions:
            session.close()

    assert np.abs(each - one).max() < TOLERANCE


def test_each_column_of_the_table_is_explained_on_the_page() -> None:
    reference = np.zeros(len(encoded().x_cat))
    rows = [tried(f"engine {make}", make, reference, 0.001, print) for make in (Constant, no_engine)]
    used = {"ratio"}.union(*rows)

    found = Found((), rows, {}, columns=COLUMNS)
    page = _section(Result("engines", "a title", found, long=False, took_s=1.0).to_dict())

    assert used == set(COLUMNS)
    assert all(any(line.startswith(f"- `{name}`: ") for line in page) for name in used)


def test_the_fast_path_is_taken_with_the_weights_of_the_network_that_is_compared() -> None:
    network, few = make_network(), encoded().rows(slice(0, 100))
    (plain,), (fast,) = torch_of(network)(1), torch_of(fast_path_of(network))(1)

    with torch.profiler.profile() as profile:
        scored = fast(few)

    assert "aten::_transformer_encoder_layer_fwd" in {event.key for event in profile.key_averages()}
    assert np.abs(plain(few) - scored).max() < TOLERANCE
    assert np.ptp(plain(few)) > 100 * TOLERANCE
