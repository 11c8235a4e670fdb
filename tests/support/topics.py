"""Topics as a test sees them from outside: made, read whole, and what a group has committed."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError

from tests.support.eventually import eventually


async def make_topic(
    bootstrap: str, name: str, *, partitions: int = 4, configs: Mapping[str, str] | None = None
) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(configs or {}))])
    finally:
        await admin.close()
    return name


async def topic_configs(bootstrap: str, name: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        return {entry[0]: entry[1] for entry in answers[0].resources[0][4]}
    finally:
        await admin.close()


async def read_all(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """Every record that the topic holds now, partition by partition."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        ends = await consumer.end_offsets(await eventually(consumer.assignment))
        records: list[ConsumerRecord] = []
        for partition, end in ends.items():
            while await consumer.position(partition) < end:
                records += (await consumer.getmany(partition, timeout_ms=200)).get(partition, [])
        return sorted(records, key=lambda record: (record.partition, record.offset))


async def committed(bootstrap: str, group: str, topic: str) -> int:
    """The sum of the group's committed offsets: how many records of the topic it is done with."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
        return sum(found.offset for partition, found in offsets.items() if partition.topic == topic)
    except GroupCoordinatorNotAvailableError:  # a broker sets up its offsets when the first group asks
        return 0
    finally:
        await admin.close()


async def remove_records(bootstrap: str, topic: str) -> None:
    """Remove what the topic holds now, as retention does in time."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap) as consumer:
        ends = await consumer.end_offsets(await eventually(consumer.assignment))
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_records({partition: RecordsToDelete(before_offset=end) for partition, end in ends.items()})
    finally:
        await admin.close()
