"""The topics and how each is kept."""

from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from loanloop_common.errors import LoanloopError, Unavailable
from loanloop_common.events import Topic
from loanloop_common.kafka.broker import admin_client
from loanloop_common.settings import KafkaSettings

# ingest alone refuses, and only loans: a reader of model.* takes the event as a wake-up and looks into the database.
REFUSABLE = (Topic.LOAN_RECEIVED, Topic.LOAN_OUTCOME)
_MANY = {Topic.LOAN_RECEIVED, Topic.LOAN_OUTCOME, Topic.LOAN_SCORED}


def described_topics(partitions: int, replication: int) -> list[NewTopic]:
    # Under the client's own timestamps, retention would delete replayed history at once.
    kept = {"message.timestamp.type": "LogAppendTime"}
    topics = [
        NewTopic(
            topic.value,
            partitions if topic in _MANY else 1,
            replication,
            topic_configs=kept | {"cleanup.policy": "compact"} if topic is Topic.MODEL_DEPLOYED else kept,
        )
        for topic in Topic
    ]
    return topics + [NewTopic(topic.dead_letters, 1, replication, topic_configs=kept) for topic in REFUSABLE]


async def create_topics(
    settings: KafkaSettings | str, *, partitions: int | None = None, replication: int | None = None
) -> list[str]:
    """Create the topics that are missing and return their names; idempotent, changes none that exists.

    Raises Unavailable when Kafka does not answer, or where a topic is missing that this user may not create.
    """
    if isinstance(settings, str):
        settings = KafkaSettings(bootstrap_servers=settings)
    described = described_topics(partitions or settings.partitions, replication or settings.replication)
    async with admin_client(settings) as admin:
        # Asked first: who may not create topics is refused those that are there as well.
        there = set(await admin.list_topics())
        missing = [topic for topic in described if topic.name not in there]
        answers = (await admin.create_topics(missing)).topic_errors if missing else []
    return _created(answers, settings.sasl_username)


def _created(answers: list[tuple[str, int, str | None]], user: str | None) -> list[str]:
    created, who = [], repr(user) if user else "this user"
    for topic, code, message in answers:
        if code == 0:
            created.append(topic)
        elif code == TopicAuthorizationFailedError.errno:
            raise Unavailable(
                f"topic {topic} is not there, or {who} may not see it, and {who} may not create it: "
                "create it by `loanloop topics` as a user who may, or let this one describe it"
            )
        elif code != TopicAlreadyExistsError.errno:
            raise LoanloopError(f"Kafka does not create topic {topic}: {message or for_code(code).__name__}")
    return created
