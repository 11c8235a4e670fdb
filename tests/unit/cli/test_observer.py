"""What a snapshot says where Kafka went on between the look at it and that at the database."""

from aiokafka import TopicPartition
from loanloop.observe.lag import KafkaView
from loanloop.observe.observer import with_received_since
from loanloop_common.errors import Unavailable
from loanloop_common.events import Topic

from tests.support.snapshots import make_counts, make_snapshot


class LaterKafka(KafkaView):
    def __init__(self, end: int | None) -> None:
        super().__init__()
        self._end = end

    async def end_offsets(self) -> dict[TopicPartition, int]:
        if self._end is None:
            raise Unavailable("Kafka does not answer")
        return {TopicPartition(Topic.LOAN_RECEIVED.value, 0): self._end}


async def test_loans_that_came_between_the_two_looks_are_received_and_those_of_another_kafka_are_not() -> None:
    seen = make_snapshot(loans=make_counts(received=100, stored=110))

    streaming, restored, away = [await with_received_since(seen, LaterKafka(end)) for end in (112, 1, None)]

    assert [each.loans.received for each in (streaming, restored, away)] == [112, 1, 100]
    assert [each.loans.is_beyond_received for each in (streaming, restored)] == [False, True]
