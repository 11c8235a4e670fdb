"""What loanloop answers, read from Kafka as any client reads it: decisions and dead letters."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from loanloop_common.events import LoanScored, Topic

_DEAD_LETTERS = {topic.dead_letters: topic.value for topic in (Topic.LOAN_RECEIVED, Topic.LOAN_OUTCOME)}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A message that loanloop did not take: `reason` is one word, `message` the sentence, `field` where it is one's."""

    topic: str
    value: bytes
    reason: str
    message: str
    field: str | None
    event_id: UUID | None  # where the message says one


@dataclass
class Answers:
    decisions: dict[UUID, LoanScored] = field(default_factory=dict)  # by the event_id of the loan.received
    refusals: list[Refusal] = field(default_factory=list)

    async def follow(self, bootstrap: str) -> None:
        """From the beginning, until cancelled."""
        consumer = AIOKafkaConsumer(
            Topic.LOAN_SCORED.value, *_DEAD_LETTERS, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
        )
        async with consumer:
            async for record in consumer:
                self._take(record)

    def refusal_of(self, event_id: UUID) -> Refusal | None:
        return next((refusal for refusal in self.refusals if refusal.event_id == event_id), None)

    def _take(self, record: ConsumerRecord) -> None:
        if record.topic in _DEAD_LETTERS:
            self.refusals.append(_refusal(record))
        else:
            decision = LoanScored.model_validate_json(record.value)
            self.decisions.setdefault(decision.loan_event_id, decision)


def _refusal(record: ConsumerRecord) -> Refusal:
    headers: Mapping[str, str] = {name: value.decode() for name, value in record.headers}
    return Refusal(
        topic=_DEAD_LETTERS[record.topic],
        value=record.value,
        reason=headers["reason"],
        message=headers["message"],
        field=headers.get("field"),
        event_id=_event_id_in(record.value),
    )


def _event_id_in(value: bytes) -> UUID | None:
    try:
        return UUID(json.loads(value)["event_id"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
