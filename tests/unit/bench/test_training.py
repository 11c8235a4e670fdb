"""What the benchmark `training` judges, and with what its contestants are given."""

import sys

import numpy as np
import pytest
import torch
from loanloop_common.resources import SAMPLE
from loanloop_trainer.model import Hooks, Progress, train

from bench.child_process import NoFigures, figures_of
from bench.eager import WARM_UP_STEPS, learn_eagerly
from bench.memory import forget_peak, held_bytes, peak_bytes
from bench.training import MODEL, ON_GPU, Raced, best_of_each, growth_of_steps, race_goals, spreads
from bench.training_loans import loans, portfolio
from bench.training_race import note_of, parts_of


def ours(rows_per_s: float = 3_000.0) -> dict[str, object]:
    return {"what": "loanloop, 2 x 1", "rows_per_s": rows_per_s, "roc_auc": 0.90}


def theirs(rows_per_s: float = 1_000.0) -> dict[str, object]:
    return {"what": "eager loop, 1 threads", "rows_per_s": rows_per_s, "roc_auc": 0.92}


def peer(threads: int, rows_per_s: float | None) -> dict[str, object]:
    name = "some peer, as many tokens"
    return {"what": f"{name}, {threads} threads", "peer": name, "rows_per_s": rows_per_s}


def test_each_contestant_has_its_best_of_all_rounds_a_peer_too() -> None:
    rows = [peer(1, 900.0), peer(2, 400.0), peer(1, 1_100.0), {**peer(2, None), "note": "ended with 1"}]

    assert [(row["what"], row["rows_per_s"]) for row in best_of_each(rows)] == [
        ("some peer, as many tokens, 1 threads", 1_100.0),
        ("some peer, as many tokens, 2 threads", 400.0),
    ]


def test_a_peer_is_raced_with_the_threads_that_suit_it() -> None:
    goals = race_goals(Raced([ours()], [theirs()], [peer(1, 1_100.0), peer(2, 2_000.0)]))

    assert [(goal.value, goal.reached) for goal in goals] == [(3.0, True), (pytest.approx(0.02), False), (1.5, False)]


def test_a_peer_that_never_ran_is_no_goal_reached() -> None:
    assert race_goals(Raced([ours()], [theirs()], [peer(1, None)]))[-1].value is None


def test_a_race_of_a_gpu_against_an_eager_loop_on_cores_is_not_judged() -> None:
    goals = race_goals(Raced([ours()], [theirs()], [peer(1, 1_100.0)]), not_judged=ON_GPU)

    assert [(goal.value, goal.not_judged, goal.reached) for goal in goals] == [
        (3.0, ON_GPU, False),
        (pytest.approx(0.02), ON_GPU, False),
        (pytest.approx(30 / 11), ON_GPU, False),
    ]


@pytest.mark.parametrize(("n_cores", "raced"), [(1, [(1, 1)]), (2, [(2, 1), (1, 2)])])
def test_on_one_core_the_training_is_raced_once(n_cores: int, raced: list[tuple[int, int]]) -> None:
    assert spreads(n_cores) == raced


def test_the_note_of_a_peer_that_did_not_run_has_the_end_of_its_traceback() -> None:
    command = [sys.executable, "-c", f"raise ValueError('{'no ' * 100}such module')"]
    with pytest.raises(NoFigures) as failed:
        figures_of(command)

    note = note_of(failed.value)
    assert len(note) == 200
    assert note.startswith("python")
    assert note.endswith("no such module")


@pytest.mark.parametrize(("first", "last", "found"), [(2.0, 3.0, 1.5), (2.0, -3.0, None), (-2.0, 3.0, None)])
def test_memory_that_shrank_is_not_measured(first: float, last: float, found: float | None) -> None:
    assert growth_of_steps(first, last) == found


def test_the_shipped_training_takes_as_many_steps_as_the_eager_loop_and_looks_as_often() -> None:
    small = {**MODEL, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_feedforward": 8}
    data, steps, looks = loans(1_500, SAMPLE), list[Progress](), list[int]()
    hooks = Hooks(on_progress=steps.append, on_epoch=lambda epoch, _: looks.append(epoch))

    train(data, portfolio(**small), seed=1, threads=1, hooks=hooks)
    threads = torch.get_num_threads()
    parts, config = parts_of(data), portfolio(**small).model
    try:
        learnt = learn_eagerly(*parts.encoded(), config, threads=1, seed=1, within_s=60.0)
    finally:
        torch.set_num_threads(threads)

    taken = [progress.step for progress in steps if progress.phase == "train"][-1]
    assert taken == learnt.n_steps == 2 * round(len(parts.older) / config.batch_size)
    assert len(looks) == learnt.n_validations == 2
    assert 0 < (learnt.roc_auc or 0) < 1


def test_an_eager_loop_whose_time_is_over_says_how_far_it_came() -> None:
    parts, threads = parts_of(loans(6_000, SAMPLE)), torch.get_num_threads()
    config = portfolio(**MODEL, d_model=8, n_layers=1, n_heads=2, d_feedforward=8).model
    try:
        learnt = learn_eagerly(*parts.encoded(), config, threads=1, seed=1, within_s=0.0)
    finally:
        torch.set_num_threads(threads)

    assert (learnt.n_steps, learnt.n_validations, learnt.roc_auc) == (WARM_UP_STEPS + 1, 0, None)


def test_a_peak_is_remembered_until_it_is_forgotten_and_freed_memory_is_not_held() -> None:
    before = held_bytes()
    forget_peak()
    np.ones(8_000_000)

    assert peak_bytes() - before > 60e6
    assert held_bytes() - before < 30e6
    forget_peak()
    assert peak_bytes() - before < 30e6
