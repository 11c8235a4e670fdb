"""Topics of the benchmarks' own: the broker makes none by itself."""

from aiokafka.admin import NewTopic
from loanloop_common.kafka.broker import admin_client
from loanloop_common.settings import KafkaSettings


async def make_topics(bootstrap: str, *names: str, partitions: int) -> None:
    async with admin_client(KafkaSettings(bootstrap_servers=bootstrap)) as admin:
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
