"""What the benchmark `scale` judges, and when it can't."""

import time

import pytest

from bench.bursts import Burst, median_of
from bench.machine import cores, own_cores
from bench.memory import growth
from bench.processor_time import IDLE, OTHERS, THIS, ProcessorTime, busy_s
from bench.progress import per_s
from bench.report import goals_table
from bench.result import Goal
from bench.scale_growth import AtSize, goals_of, rows_of
from bench.scale_memory import Held
from bench.scale_replicas import LEAST_CORES, Measured


def made(loans_per_s: float, us_per_loan: float, *, others: float = 0.0) -> Burst:
    cost = {"predictor": us_per_loan * 0.7, "PostgreSQL": us_per_loan * 0.2, "Kafka": us_per_loan * 0.1}
    return Burst(loans_per_s, cost, {"predictor": 0.5, OTHERS: others, IDLE: 0.5 - others})


def test_speed_is_taken_between_commits_without_start_and_end_of_a_burst() -> None:
    seen = [(0.0, 0), (5.0, 100), (6.0, 500), (7.0, 900), (20.0, 1000)]

    assert per_s(seen, up_to=0.9) == 400
    assert per_s(seen) == 60


def test_speed_is_taken_from_what_there_is_where_one_commit_was_most_of_a_burst() -> None:
    assert per_s([(0.0, 0), (1.0, 950), (2.0, 1000)], up_to=0.9) == 50


def test_two_replicas_are_judged_where_the_cores_suffice_and_nobody_else_takes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.scale_replicas.cores", lambda: 4)

    assert Measured(made(10_000, 150), made(18_500, 150)).goal.reached
    assert not Measured(made(10_000, 150), made(17_000, 150)).goal.reached
    assert Measured(made(10_000, 150), made(17_000, 150)).goal.not_judged is None
    busy = Measured(made(10_000, 210), made(19_000, 210)).goal
    assert (busy.reached, busy.not_judged) == (False, "4 cores, and two replicas with broker and database need 5")
    shared = Measured(made(10_000, 150, others=0.3), made(19_000, 150)).goal
    assert (shared.reached, shared.not_judged) == (False, "other programs took 30% of the cores")


def test_on_two_cores_two_replicas_are_never_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.scale_replicas.cores", lambda: 2)

    goal = Measured(made(5_000, 100), made(10_000, 100)).goal

    assert not goal.reached
    assert goal.not_judged == f"2 cores, and two replicas with broker and database need {LEAST_CORES}"


def test_a_goal_that_is_not_judged_says_why_in_the_report() -> None:
    goals = [Goal("a", 2.0, 1.8, not_judged="two cores"), Goal("b", 2.0, 1.8), Goal("c", 1.0, 1.8)]
    kept = [{**vars(goal), "reached": goal.reached} for goal in goals]
    del kept[2]["not_judged"]  # as results were kept before

    lines = goals_table([{"name": "scale", "goals": kept}])[2:]

    assert [line.split(" | ")[-1].strip(" |") for line in lines] == ["not judged: two cores", "yes", "**no**"]


def test_cost_is_judged_by_the_largest_table_against_the_smallest_before_and_after() -> None:
    sizes = ((100_000, 90), (300_000, 500), (1_000_000, 115), (100_000, 110))

    goals = goals_of([AtSize(n, made(10_000, us), 1000.0) for n, us in sizes])

    assert [round(goal.value or 0, 3) for goal in goals] == [1.15, 1.15]
    assert all(goal.reached for goal in goals)
    assert "1,000,000 decisions stored / 100,000" in goals[0].what


def test_the_first_size_is_called_another_name_when_it_comes_again() -> None:
    rows = rows_of([AtSize(n, made(10_000, 90), 1000.0) for n in (110_000, 1_010_000, 110_000)])

    assert [row["what"] for row in rows] == [
        "110,000 decisions stored",
        "1,010,000 decisions stored",
        "110,000 decisions stored, again",
    ]


def test_memory_that_has_settled_half_way_is_flat_and_memory_that_goes_on_growing_is_not() -> None:
    settled = [100.0 + min(i, 10) for i in range(20)]
    growing = [100.0 + i for i in range(20)]
    held = Held({"predictor": settled, "ingest": growing})

    assert held.growth("predictor") == pytest.approx(0)
    assert held.growth("ingest") == pytest.approx(9 / 110)
    assert [goal.reached for goal in held.goals()] == [True, False]


def test_growth_is_projected_over_as_many_distances_as_are_asked_for() -> None:
    assert growth([100, 100, 100, 101, 102, 103], over=200) == pytest.approx(200 / 101)


def test_the_median_of_bursts_is_taken_figure_by_figure() -> None:
    median = median_of([made(10, 100), made(30, 80), made(20, 120)])

    assert median.loans_per_s == 20
    assert median.cpu_us_per_loan["PostgreSQL"] == 20


def work_for(seconds: float) -> float:
    """The processor time that it took."""
    began_s, ends_at = time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < ends_at:
        sum(range(100_000))
    return time.process_time() - began_s


def test_shares_of_processor_time_are_of_the_time_that_the_cores_had() -> None:
    used = ProcessorTime()
    worked_s = work_for(1)
    shares = used.shares()

    assert shares[THIS] == pytest.approx(worked_s / cores(), abs=0.1 / cores())
    assert shares[THIS] + shares[OTHERS] < 1.1


def test_each_core_is_busy_by_itself_and_one_of_them_with_our_work() -> None:
    began, before = time.perf_counter(), {core: busy_s({core}) for core in own_cores()}
    worked_s = work_for(1)
    busy = {core: busy_s({core}) - was for core, was in before.items()}
    took_s = time.perf_counter() - began

    assert all(0 <= seconds < took_s + 0.1 for seconds in busy.values())
    assert sum(busy.values()) > worked_s - 0.1


def test_all_cores_are_busy_for_as_long_as_each_of_them() -> None:
    each = sum(busy_s({core}) for core in own_cores())

    assert busy_s(own_cores()) == pytest.approx(each, abs=1)
