"""How far groups have come, from what Kafka says of them."""

from aiokafka import TopicPartition
from loanloop.observe.lag import lags_of
from loanloop_common.asyncapi import READ_BY
from loanloop_common.events import Topic

ENDS = {TopicPartition(Topic.LOAN_RECEIVED, 0): 40, TopicPartition(Topic.LOAN_RECEIVED, 1): 2}


def test_what_a_group_has_not_committed_waits() -> None:
    (lag,) = lags_of("ingest", {TopicPartition(Topic.LOAN_RECEIVED, 0): 30}, ENDS)

    assert (lag.topic, lag.committed, lag.end, lag.waiting) == (Topic.LOAN_RECEIVED, 30, 42, 12)


def test_of_a_group_that_has_read_nothing_yet_all_waits() -> None:
    assert [lag.waiting for lag in lags_of("predictor", {}, ENDS)] == [42]


def test_a_topic_that_the_group_does_not_read_is_none_of_its_own() -> None:
    others = {TopicPartition(topic, 0): 7 for topic in Topic if topic not in READ_BY["ingest"]}

    assert lags_of("ingest", {}, others) == []
