"""Kafka as every service uses it: one broker object, batch consumers with three outcomes, acknowledged publishing.

FastStream's defaults that lose data (acknowledge first, latest offset, no group, acks=1, no idempotence) are each
stated otherwise here, once.
"""

from loanloop_common.kafka.broker import Broker, make_broker, stop_broker
from loanloop_common.kafka.consuming import BatchConsumer
from loanloop_common.kafka.handling import ConsumerState, Finish
from loanloop_common.kafka.publishing import Message, publish_batch, publish_messages
from loanloop_common.kafka.records import arrived_at
from loanloop_common.kafka.removed import OnRemoved, RemovedRecords
from loanloop_common.kafka.retries import RetryPolicy
from loanloop_common.kafka.topics import create_topics

__all__ = [
    "BatchConsumer",
    "Broker",
    "ConsumerState",
    "Finish",
    "Message",
    "OnRemoved",
    "RemovedRecords",
    "RetryPolicy",
    "arrived_at",
    "create_topics",
    "make_broker",
    "publish_batch",
    "publish_messages",
    "stop_broker",
]
