"""The AsyncAPI 3.0 document of all topics, from one table of who sends and who reads what."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from loanloop_common.events import EVENT_OF_TOPIC, Topic
from loanloop_common.trace_context import HEADER


@dataclass(frozen=True)
class Channel:
    """`readers`: service → consumer group, None for a broadcast that every replica reads whole."""

    key: str
    says: str
    senders: tuple[str, ...]
    readers: Mapping[str, str | None]
    compacted: bool = False
    dead_letters: bool = False


CHANNELS: dict[Topic, Channel] = {
    Topic.LOAN_RECEIVED: Channel(
        "loan_id",
        "A loan's features; optionally its known outcome.",
        ("producers", "ingest", "predictor"),
        {"ingest": "ingest", "predictor": "predictor", "trainer": "trainer"},
        dead_letters=True,
    ),
    Topic.LOAN_OUTCOME: Channel(
        "loan_id",
        "Defaulted or not, and when that became known.",
        ("producers", "ingest"),
        {"ingest": "ingest", "trainer": "trainer", "evaluator": "evaluator"},
        dead_letters=True,
    ),
    Topic.LOAN_SCORED: Channel(
        "loan_id", "Probability of default, decision, model version.", ("predictor",), {"users": None}
    ),
    Topic.MODEL_TRAINED: Channel(
        "version", "A bundle is ready to be judged.", ("trainer",), {"evaluator": "evaluator"}
    ),
    Topic.MODEL_EVALUATED: Channel(
        "version",
        "A verdict on a challenger or on the champion.",
        ("evaluator",),
        {"trainer": "trainer"},
    ),
    Topic.MODEL_DEPLOYED: Channel(
        "slot",
        "Which version is live from now on.",
        ("evaluator", "operator"),
        {"predictor": None},
        compacted=True,
    ),
    Topic.ALERT_RAISED: Channel(
        "kind",
        "Retraining given up, poor data quality and what else somebody should look at.",
        ("ingest", "trainer", "evaluator", "predictor"),
        {"users": None},
    ),
}

# What each consumer group reads.
READ_BY: dict[str, tuple[Topic, ...]] = {
    group: tuple(topic for topic, channel in CHANNELS.items() if group in channel.readers.values())
    for group in dict.fromkeys(group for channel in CHANNELS.values() for group in channel.readers.values() if group)
}

_DEAD_LETTER_HEADERS = {
    "reason": "A word to count by: invalid_message, invalid_field, too_large, conflict, refused_by_database, not_read",
    "message": "One sentence",
    "field": "The field that broke a rule, if one did",
    "rule": "The rule",
    "topic": "Where the original was",
    "partition": "Where the original was",
    "offset": "Where the original was",
    "bytes": "Size of the original value",
    "sha256": "Of the original value",
    "truncated": "true, if only the beginning of the value is kept",
    HEADER: "As the original had it, if it did",
}
_TRACEPARENT = {"type": "string", "description": "W3C trace context, if there is one; what follows carries it on"}


def asyncapi_document() -> dict[str, Any]:
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for topic, channel in CHANNELS.items():
        channels[topic.value] = _event_channel(topic, channel)
        operations |= _operations(topic, channel)
        if channel.dead_letters:
            channels[topic.dead_letters] = _dead_letter_channel(topic)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "loanloop",
            "version": version("loanloop"),
            "description": "Predicts loan default and keeps its own model good. Delivery is at least once; event_id "
            "is the idempotency key. Readers ignore unknown fields.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }


def _event_channel(topic: Topic, channel: Channel) -> dict[str, Any]:
    kind = EVENT_OF_TOPIC[topic]
    described: dict[str, Any] = {
        "address": topic.value,
        "description": channel.says,
        "messages": {
            kind.__name__: {
                "name": kind.__name__,
                "headers": {"type": "object", "properties": {HEADER: _TRACEPARENT}},
                "payload": {"$ref": f"./{topic}.schema.json"},
                "bindings": {"kafka": {"key": {"type": "string", "description": channel.key}}},
            }
        },
    }
    if channel.compacted:
        described["bindings"] = {"kafka": {"topicConfiguration": {"cleanup.policy": ["compact"]}}}
    return described


def _dead_letter_channel(topic: Topic) -> dict[str, Any]:
    headers = {name: {"type": "string", "description": says} for name, says in _DEAD_LETTER_HEADERS.items()}
    return {
        "address": topic.dead_letters,
        "description": f"What the consumer of {topic} refused: the original key and bytes.",
        "messages": {
            "DeadLetter": {
                "name": "DeadLetter",
                "contentType": "application/octet-stream",
                "headers": {"type": "object", "properties": headers},
            }
        },
    }


def _operations(topic: Topic, channel: Channel) -> dict[str, Any]:
    reference = {"$ref": f"#/channels/{topic}"}
    operations: dict[str, Any] = {
        f"{sender}.send.{topic}": {"action": "send", "channel": reference} for sender in channel.senders
    }
    for reader, group in channel.readers.items():
        operation: dict[str, Any] = {"action": "receive", "channel": reference}
        if group:
            operation["bindings"] = {"kafka": {"groupId": {"type": "string", "enum": [group]}}}
        operations[f"{reader}.receive.{topic}"] = operation
    return operations
