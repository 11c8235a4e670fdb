"""A broker and a topic for one test."""

from collections.abc import AsyncIterator

import pytest
from loanloop_common.kafka import Broker, make_broker, stop_broker
from loanloop_common.settings import KafkaSettings

from tests.support.infrastructure import Backend
from tests.support.topics import make_topic


@pytest.fixture
def kafka_settings(infrastructure: Backend) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=infrastructure.kafka_bootstrap, session_timeout_ms=6000, finish_batch_within_s=3
    )


@pytest.fixture
async def broker(kafka_settings: KafkaSettings) -> AsyncIterator[Broker]:
    broker = make_broker(kafka_settings, service="test")
    await broker.connect()
    yield broker
    await stop_broker(broker)


@pytest.fixture
async def topic(infrastructure: Backend, topic_prefix: str) -> str:
    return await make_topic(infrastructure.kafka_bootstrap, f"{topic_prefix}loans")


@pytest.fixture
async def topic_of_one_partition(kafka_settings: KafkaSettings, topic_prefix: str) -> str:
    return await make_topic(kafka_settings.bootstrap_servers, f"{topic_prefix}one", partitions=1)
