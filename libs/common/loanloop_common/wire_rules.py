"""What loans and outcomes have in common on the wire: the rules of their fields, and which of them a message breaks."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from loanloop_common.errors import InvalidField, InvalidMessage

Timestamp = Annotated[datetime, Meta(tz=True)]
LoanId = Annotated[str, Meta(min_length=1, max_length=64)]
TIMESTAMP_RULE = "must be a date and time with its zone, of the years 1900 to 9998, such as 2005-05-20T00:00:00Z"
ENVELOPE_RULES = {
    "event_id": "must be a UUID",
    "occurred_at": TIMESTAMP_RULE,
    "schema_version": "must be 1",
    "loan_id": "must be text of 1 to 64 characters",
}
MAX_DEPTH = 100
TOO_DEEP = f"the message is nested too deeply, more than {MAX_DEPTH} levels"
NO_NUL = r"^[^\u0000]*$"  # as a pattern of JSON Schema
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MINUTE = timedelta(minutes=1)
FUTURE_TOLERANCE = 5 * _MINUTE  # of what comes by stream: clocks of producers may run so fast
_FIRST_YEAR, _LAST_YEAR = 1900, 9998  # within both datetime and timestamptz, whatever the zone
# Takes each byte once: what is taken is kept (++, *+), and a text that does not end goes to the end of the message. The
# decoder sees the same texts up to the first fault, where it stops; so it meets no bracket that was not counted.
_TEXT_IN_JSON = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
# By byte, how much deeper it leads. In Python a megabyte of brackets would take half a second.
_DEEPER = np.zeros(256, np.int8)
_DEEPER[list(b"[{")], _DEEPER[list(b"]}")] = 1, -1
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
_ABSENT = re.compile(r"missing required field `([^`]*)`")


def explained(data: bytes, refused: Exception, rules: Mapping[str, str]) -> InvalidMessage:
    """The refused message looked at a second time, to name the field, its value and the rule."""
    try:
        payload = msgspec.json.decode(data)
    except RecursionError:
        return InvalidMessage(TOO_DEEP)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        return InvalidMessage(f"the message is not JSON: {broken}")
    absent = _ABSENT.findall(str(refused))
    path = ".".join(name for name in (*_PATH.findall(str(refused)), *absent) if name)
    if path not in rules:
        return InvalidMessage("the message must be a JSON object")
    return InvalidField(path, _value_at(payload, path), ("is missing; it " if absent else "") + rules[path])


def with_whole_numbers(data: bytes, features: Iterable[str]) -> bytes | None:
    """The message with 4.0 as 4 in these features; None where that is nothing new.

    Both are the same number to JSON and to its schemas, but not to the decoder. Whoever keeps whole numbers with gaps
    in a table of floats sends them so.
    """
    try:
        payload = msgspec.json.decode(data)
        held = payload["features"]
        whole = {name: int(held[name]) for name in features if _is_whole(held.get(name))}
        return msgspec.json.encode(payload | {"features": held | whole}) if whole else None
    except (*UNDECODABLE, TypeError, KeyError, AttributeError):
        return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer() and abs(value) < 2**53


def refuse_depth(data: bytes) -> None:
    """Raises InvalidMessage. A limit of our own: Python's is what is left of its stack, another one in each caller."""
    n_arrays = data.count(b"[") if b"[" in data else 0  # a count costs several times as much as a look
    if n_arrays + data.count(b"{") <= MAX_DEPTH:
        return
    outside_of_texts = np.frombuffer(_TEXT_IN_JSON.sub(b"", data), np.uint8)
    if np.cumsum(_DEEPER[outside_of_texts], dtype=np.int32).max(initial=0) > MAX_DEPTH:
        raise InvalidMessage(TOO_DEEP)


def is_of_known_year(moment: datetime) -> bool:
    return _FIRST_YEAR <= moment.year <= _LAST_YEAR


def refuse_year(field: str, moment: datetime) -> None:
    """Raises InvalidField."""
    if not is_of_known_year(moment):
        raise InvalidField(field, moment.isoformat(), TIMESTAMP_RULE)


def refuse_future(field: str, moment: datetime, now: datetime, tolerance: timedelta = FUTURE_TOLERANCE) -> None:
    """Raises InvalidField; `tolerance` is of whole minutes."""
    if moment > now + tolerance:
        minutes = "1 minute" if tolerance == _MINUTE else f"{tolerance // _MINUTE} minutes"
        raise InvalidField(field, moment.isoformat(), f"must not lie more than {minutes} in the future")


def may_hold_nul(data: bytes) -> bool:
    """JSON can hold a NUL only escaped, and the backslash may itself be escaped: worth a closer look."""
    return b"\\" in data and b"\\u0000" in data  # one byte is looked for much faster than six


def refuse_nul(texts: Mapping[str, str | None]) -> None:
    """Of the texts, by field, that become PostgreSQL's, which holds no NUL. Raises InvalidField."""
    for field, text in texts.items():
        if text is not None and "\0" in text:
            raise InvalidField(field, text, "must not contain a NUL character")


def _value_at(payload: Any, path: str) -> Any:
    for name in path.split("."):
        payload = payload.get(name) if isinstance(payload, Mapping) else None
    return payload
