"""W3C trace context: the `traceparent` that comes with a message or a request, and goes on with what follows from it.

Where none came, none is made: two services that read one message would give it two ids. What both know of it is its
event_id, which `loan.scored` repeats as loan_event_id.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Protocol

HEADER = "traceparent"

# version, trace id, span id, flags; a later version may add to it, and is passed on as this one. All zeros is no id.
_FORM = re.compile(rb"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?", re.DOTALL)
_BYTES = 55
_LONGEST = 512
_SAMPLED = "13579bdf"  # the last bit of the flags

Headers = list[tuple[str, bytes]]
_headers_of: Callable[[Any], Sequence[tuple[str, bytes | None]]] = attrgetter("headers")


class HasHeaders(Protocol):
    """A ConsumerRecord, or what stands for one."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


def read_traceparent(value: bytes | None) -> str | None:
    """As it is passed on; None where it is none, by the standard's rules."""
    if value is None or len(value) > _LONGEST:
        return None
    read = _FORM.fullmatch(value)
    if read is None:
        return None
    if value.startswith(b"00"):
        return value.decode() if len(value) == _BYTES else None
    return f"00-{read[1].decode()}"


def traceparent_of(record: HasHeaders) -> str | None:
    """Of several the first: who adds to a message's headers puts his behind."""
    for name, value in record.headers:
        if name == HEADER:
            return read_traceparent(value)
    return None


def traceparents_of(records: Sequence[HasHeaders]) -> dict[int, str]:
    """By the record's place. A batch without any header, which most are, costs one look at each record."""
    if not any(map(_headers_of, records)):
        return {}
    return {
        place: traceparent
        for place, record in enumerate(records)
        if record.headers and (traceparent := traceparent_of(record)) is not None
    }


def each_traceparent(records: Sequence[HasHeaders]) -> Iterator[str]:
    """For who wants the first of them alone: no more headers are read than are asked for."""
    return (found for record in records if record.headers and (found := traceparent_of(record)) is not None)


def traceparent_of_request(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Of a request's headers as ASGI has them."""
    for name, value in headers:
        if name == b"traceparent":
            return read_traceparent(value.strip())
    return None


def headers_with(traceparent: str | None) -> Headers:
    """The headers of a message that goes on with it."""
    return [] if traceparent is None else [(HEADER, traceparent.encode())]


def trace_id_of(traceparent: str) -> str:
    return traceparent[3:35]


def is_sampled(traceparent: str) -> bool:
    """Whether who began the trace wants to see it."""
    return traceparent[-1] in _SAMPLED


def trace_of(traceparent: str | None) -> dict[str, str]:
    """What a log line says of it."""
    return {} if traceparent is None else {"trace_id": trace_id_of(traceparent)}


def trace_of_request(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return trace_of(traceparent_of_request(headers))
