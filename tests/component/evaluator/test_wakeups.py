"""What reaches the evaluator over Kafka only shortens its wait."""

from types import SimpleNamespace
from typing import Any

from loanloop_common.events import Topic
from loanloop_evaluator.handlers.wakeups import WakeUps

from tests.support.eventually import eventually


class Looks:
    """Counts what it was woken for."""

    def __init__(self) -> None:
        self.challengers = 0
        self.days = 0

    def wake_ups(self) -> WakeUps:
        return WakeUps(judge=self._judge, close_days=self._close_days)

    def _judge(self) -> None:
        self.challengers += 1

    def _close_days(self) -> None:
        self.days += 1


def records(topic: Topic, n: int) -> list[Any]:
    return [SimpleNamespace(topic=topic.value, value=b"not even JSON") for _ in range(n)]


async def test_a_trained_model_is_looked_at_at_once() -> None:
    looks = Looks()

    await looks.wake_ups().wake(records(Topic.MODEL_TRAINED, 1))

    assert (looks.challengers, looks.days) == (1, 0)


async def test_a_stream_of_outcomes_becomes_one_look_and_its_content_does_not_matter() -> None:
    looks = Looks()
    wake_ups = looks.wake_ups()

    for _ in range(50):
        await wake_ups.wake(records(Topic.LOAN_OUTCOME, 100))

    assert (looks.challengers, looks.days) == (0, 0)
    await eventually(lambda: looks.days == 1)
    assert (looks.challengers, looks.days) == (1, 1)


async def test_outcomes_that_come_later_wake_again() -> None:
    looks = Looks()
    wake_ups = looks.wake_ups()

    await wake_ups.wake(records(Topic.LOAN_OUTCOME, 1))
    await eventually(lambda: looks.days == 1)
    await wake_ups.wake(records(Topic.LOAN_OUTCOME, 1))

    await eventually(lambda: looks.days == 2)
