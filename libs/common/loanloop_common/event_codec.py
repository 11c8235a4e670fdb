"""Events other than loans from their bytes; `loan_codec` does the loans."""

from typing import TypeVar

from pydantic import ValidationError

from loanloop_common.errors import InvalidField, InvalidMessage
from loanloop_common.events import Event

E = TypeVar("E", bound=Event)

# They have defaults for whoever makes an event; who sends one must name them, or a redelivery would be a new event.
REQUIRED_ON_THE_WIRE = ("event_id", "schema_version")


def decode_event(kind: type[E], data: bytes | None) -> E:
    """Raises InvalidField where one field breaks its rule, InvalidMessage where there is no JSON object."""
    try:
        event = kind.model_validate_json(data or b"")
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        if not first["loc"]:
            raise InvalidMessage(f"the message is no {kind.__name__}: {first['msg']}") from invalid
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidField(field, first.get("input"), first["msg"]) from invalid
    for name in REQUIRED_ON_THE_WIRE:
        if name not in event.model_fields_set:
            raise InvalidField(name, None, "is missing")
    return event
