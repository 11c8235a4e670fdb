"""What Kafka tells the evaluator: only that it is worth looking."""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka import ConsumerRecord
from loanloop_common.events import Topic

# A stream of outcomes must not turn each of its batches into a look.
OUTCOMES_GATHER_S = 0.5


class WakeUps:
    def __init__(self, *, judge: Callable[[], None], close_days: Callable[[], None]) -> None:
        self._judge = judge
        self._close_days = close_days
        self._is_due = False

    async def wake(self, records: Sequence[ConsumerRecord]) -> None:
        topics = {record.topic for record in records}
        if Topic.MODEL_TRAINED in topics:
            self._judge()
        if Topic.LOAN_OUTCOME in topics and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(OUTCOMES_GATHER_S, self._wake_both)

    def _wake_both(self) -> None:
        self._is_due = False
        self._judge()
        self._close_days()
