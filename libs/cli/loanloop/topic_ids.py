"""The ids that Kafka gives its topics: one that was made anew under an old name has another.

aiokafka 0.14 asks for metadata of version 5 at most, which holds no ids; version 11 is known from Kafka 2.8 on.
"""

from io import BytesIO
from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

METADATA = 3


class _Uuid(AbstractType):  # type: ignore[misc]  # aiokafka is untyped
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


_PARTITION = Schema(
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    ("tags", TaggedFields),
)
_TOPIC = Schema(
    ("error_code", Int16),
    ("topic", CompactString("utf-8")),
    ("topic_id", _Uuid),
    ("is_internal", Boolean),
    ("partitions", CompactArray(_PARTITION)),
    ("authorized_operations", Int32),
    ("tags", TaggedFields),
)
_NODE = Schema(
    ("node_id", Int32),
    ("host", CompactString("utf-8")),
    ("port", Int32),
    ("rack", CompactString("utf-8")),
    ("tags", TaggedFields),
)
_WANTED = Schema(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields))


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = METADATA
    API_VERSION = 11
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(_NODE)),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        ("topics", CompactArray(_TOPIC)),
        ("tags", TaggedFields),
    )


class _MetadataRequestV11(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = METADATA
    API_VERSION = 11
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(_WANTED)),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestV11]):  # type: ignore[misc]
    API_KEY = METADATA

    def build(self, request_struct_class: type[_MetadataRequestV11]) -> _MetadataRequestV11:
        return request_struct_class(None, False, False, {})


async def fetch_topic_ids(admin: AIOKafkaAdminClient) -> tuple[str, dict[str, str]]:
    """The cluster's id, and the id of each topic that the account may see."""
    answer = await admin._send_request(_MetadataRequest())
    topics = {topic[1]: str(topic[2]) for topic in answer.topics if topic[0] == 0}
    return answer.cluster_id, topics
