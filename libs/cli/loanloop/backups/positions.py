"""How far the groups have come in Kafka: recorded before a backup, set back by a restore."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from loanloop_common.asyncapi import READ_BY
from loanloop_common.errors import LoanloopError, Unavailable, in_one_line
from loanloop_common.events import Topic
from loanloop_common.kafka.broker import admin_client, connection_options
from loanloop_common.settings import KafkaSettings

from loanloop.backups.manifest import Positions
from loanloop.topic_ids import fetch_topic_ids


class GroupInUse(LoanloopError):
    """A service still consumes: it would commit its own offsets over those that a restore sets."""


async def fetch_positions(settings: KafkaSettings) -> Positions:
    """What each group has committed. Raises Unavailable."""
    async with admin_client(settings) as admin:
        cluster_id, topic_ids = await fetch_topic_ids(admin)
        groups = {group: await _committed(admin, group) for group in READ_BY}
    ours = {topic: topic_ids[topic] for topic in map(str, Topic) if topic in topic_ids}
    return Positions(cluster_id=cluster_id, topic_ids=ours, groups=groups)


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[str, dict[str, int]]:
    try:
        found = await admin.list_consumer_group_offsets(group)
    except GroupCoordinatorNotAvailableError:  # a broker sets up its offsets when the first group asks
        return {}
    offsets: dict[str, dict[str, int]] = defaultdict(dict)
    for at, committed in found.items():
        if committed.offset >= 0:
            offsets[at.topic][str(at.partition)] = committed.offset
    return dict(offsets)


async def refuse_groups_in_use(settings: KafkaSettings) -> None:
    """Raises GroupInUse, or Unavailable."""
    async with admin_client(settings) as admin:
        for group in READ_BY:
            if await _has_members(admin, group):
                raise GroupInUse(
                    f"Kafka's group {group} has members: stop the services that read from it, then restore again."
                )


async def _has_members(admin: AIOKafkaAdminClient, group: str) -> bool:
    try:
        (answer,) = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:
        return False
    return any(found[5] for found in answer.groups)


@dataclass(frozen=True)
class PositionsSet:
    """`made_anew`: the recorded topics whose messages of then this Kafka does not have."""

    groups: Mapping[str, Mapping[TopicPartition, int]]
    made_anew: frozenset[str]


async def set_positions(settings: KafkaSettings, recorded: Positions) -> PositionsSet:
    """Each group to where it was, in topics made anew and on another cluster to the start.

    An offset that Kafka no longer keeps is set all the same: the services tell of records that were removed unread.
    Raises GroupInUse or Unavailable; may be repeated.
    """
    await refuse_groups_in_use(settings)
    async with admin_client(settings) as admin:
        cluster_id, topic_ids = await fetch_topic_ids(admin)
        layout = await _partitions_of(admin)
    same = {t for t, i in recorded.topic_ids.items() if cluster_id == recorded.cluster_id and topic_ids.get(t) == i}
    done = {}
    for group, topics in READ_BY.items():
        partitions = [at for topic in topics for at in layout.get(topic, ())]
        known = {topic: recorded.groups.get(group, {}).get(topic, {}) for topic in same}
        done[group] = await _set_group(settings, group, partitions, known)
    return PositionsSet(groups=done, made_anew=frozenset(recorded.topic_ids.keys() - same))


async def _partitions_of(admin: AIOKafkaAdminClient) -> dict[str, list[TopicPartition]]:
    return {
        topic["topic"]: [TopicPartition(topic["topic"], one["partition"]) for one in topic["partitions"]]
        for topic in await admin.describe_topics()
    }


async def _set_group(
    settings: KafkaSettings, group: str, partitions: Iterable[TopicPartition], known: Mapping[str, Mapping[str, int]]
) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(group_id=group, enable_auto_commit=False, **connection_options(settings))
    try:
        await consumer.start()
        consumer.assign(list(partitions))
        starts = await consumer.beginning_offsets(partitions)
        wanted = {
            at: known[at.topic].get(str(at.partition), 0) if at.topic in known else start
            for at, start in starts.items()
        }
        await consumer.commit(wanted)
        return wanted
    except (KafkaError, OSError, TimeoutError) as cause:
        raise Unavailable(f"Kafka does not set the offsets of group {group}: {in_one_line(cause)}") from cause
    finally:
        await consumer.stop()
