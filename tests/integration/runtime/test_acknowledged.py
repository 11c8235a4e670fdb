"""Kafka and PostgreSQL keep what they acknowledged, whatever runs them."""

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.infrastructure import Backend


async def make_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def consume(bootstrap: str, topic: str, n: int) -> list[bytes]:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        return [(await consumer.getone()).value for _ in range(n)]


async def test_acknowledged_messages_survive_a_kill_of_kafka(infrastructure: Backend, topic_prefix: str) -> None:
    topic = f"{topic_prefix}acknowledged"
    values = [f"{i}".encode() for i in range(200)]
    await make_topic(infrastructure.kafka_bootstrap, topic)
    await produce(infrastructure.kafka_bootstrap, topic, values)

    await infrastructure.kill_kafka()
    await infrastructure.start_kafka()

    assert await consume(infrastructure.kafka_bootstrap, topic, len(values)) == values


async def test_committed_rows_survive_a_kill_of_postgres(infrastructure: Backend, database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE kept (n integer)")
    await connection.execute("INSERT INTO kept VALUES (42)")

    await infrastructure.kill_postgres()
    await infrastructure.start_postgres()

    again = await asyncpg.connect(database)
    try:
        assert await again.fetchval("SELECT n FROM kept") == 42
    finally:
        await again.close()


async def test_a_fresh_database_is_migrated_and_empty(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM loan_data.raw_data") == 0
    finally:
        await connection.close()
