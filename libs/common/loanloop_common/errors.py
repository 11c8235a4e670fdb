"""The error tree. An error carries its facts; its class says which of three outcomes a message gets.

LoanloopError
├── InvalidMessage      a message that can never succeed: dead letter (Kafka) or 422 (REST)
│   ├── InvalidField    … because one field breaks one rule
│   └── MessageTooLarge … because the broker takes no message of that size
├── EventConflict       the event_id is taken by another payload: dead letter or 409
├── BundleCorrupt       a model bundle whose content does not match its manifest
├── AccessRefused       a server that answers turns this process away: only the operator can help
└── Unavailable         something this process needs does not answer: retry later, 503

Anything else is a fault: bounded retries, then the consumer stops and is restarted.
"""

from typing import Any


class LoanloopError(Exception):
    """Root of all errors that loanloop raises itself."""


class InvalidMessage(LoanloopError):
    """The message cannot be decoded or breaks its schema; a retry cannot help."""


class InvalidField(InvalidMessage):
    """One field breaks one rule."""

    def __init__(self, field: str, value: Any, rule: str) -> None:
        self.field = field
        self.value = value
        self.rule = rule
        try:
            shown = repr(value)
        except RecursionError:
            shown = "a value nested too deeply"
        if len(shown) > 120:
            shown = shown[:117] + "..."
        super().__init__(f"{field} = {shown}: {rule}")


class MessageTooLarge(InvalidMessage):
    """The broker takes no message of this size. `limit` is None where the broker's own, lower limit refused it."""

    def __init__(self, topic: str, size: int, limit: int | None) -> None:
        self.topic = topic
        self.size = size
        self.limit = limit
        shown = "the broker's limit" if limit is None else f"the limit of {limit:,} bytes"
        super().__init__(f"a message of {size:,} bytes for {topic} is over {shown}")


class EventConflict(LoanloopError):
    """The event_id is already taken by an event with another payload."""

    def __init__(self, event_id: str) -> None:
        self.event_id = event_id
        super().__init__(f"event_id {event_id} is already taken by another payload")


class BundleCorrupt(LoanloopError):
    """A model bundle whose content does not match its manifest."""

    def __init__(self, version: str, reason: str) -> None:
        self.version = version
        self.reason = reason
        super().__init__(f"bundle {version}: {reason}")


class AccessRefused(LoanloopError):
    """A server answers and turns this process away: wrong password, or a certificate that is not trusted."""


class Unavailable(LoanloopError):
    """Something this process needs does not answer for now."""


def in_one_line(error: BaseException) -> str:
    """What it says; a timeout says nothing."""
    return " ".join(str(error).split()) or "no answer in time"
