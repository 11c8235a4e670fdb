"""The first training waits while a history is being loaded, and for nothing less."""

import pytest
from loanloop_trainer.domain.arrival import Arrival

LOOK_EVERY_S = 3.0


def looked(*looks: tuple[float, int]) -> Arrival:
    arrival = Arrival(over_s=LOOK_EVERY_S)
    for at_s, labels in looks:
        arrival.note(labels, at_s)
    return arrival


def test_the_first_look_has_nothing_to_compare_to() -> None:
    assert not looked((100.0, 30_000)).is_going_on


@pytest.mark.parametrize(("labels", "arrives"), [(20_000, False), (20_200, False), (20_201, True), (45_000, True)])
def test_labels_arrive_where_they_grew_by_more_than_a_hundredth(labels: int, arrives: bool) -> None:
    assert looked((0.0, 20_000), (LOOK_EVERY_S, labels)).is_going_on is arrives


@pytest.mark.parametrize(("labels", "arrives"), [(190, False), (191, True)])
def test_some_labels_more_are_no_history(labels: int, arrives: bool) -> None:
    assert looked((0.0, 100), (LOOK_EVERY_S, labels)).is_going_on is arrives


def test_labels_that_came_since_the_last_look_arrive_however_soon_it_was() -> None:
    assert looked((0.0, 0), (0.5, 6_000)).is_going_on


def test_a_look_that_comes_too_soon_does_not_end_an_arrival() -> None:
    arrival = looked((0.0, 0), (3.0, 15_000), (3.1, 15_050))
    assert arrival.is_going_on

    arrival.note(15_050, 6.0)
    assert not arrival.is_going_on


@pytest.mark.parametrize("look_every_s", [3, 60])
def test_a_history_that_is_loaded_at_a_steady_rate_is_waited_for_five_minutes_at_most(look_every_s: int) -> None:
    arrival = Arrival(over_s=look_every_s)
    arrival.note(0, 0)
    looks = range(look_every_s, 3600, look_every_s)
    ended_at_s = next(at_s for at_s in looks if not _noted(arrival, at_s, labels=5_000 * at_s))

    assert 300 <= ended_at_s <= 300 + 2 * look_every_s


def _noted(arrival: Arrival, at_s: float, *, labels: int) -> bool:
    arrival.note(labels, at_s)
    return arrival.is_going_on
