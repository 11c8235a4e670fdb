"""What a span can be asked, whoever makes it, and the one that is none."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

Kind = Literal["internal", "server", "consumer"]
Value = str | int | float | bool

_NOTHING = nullcontext()


class Span(Protocol):
    @property
    def traceparent(self) -> str | None: ...

    def current(self) -> AbstractContextManager[object]:
        """Within it what else is begun hangs on this one."""

    def rename(self, name: str) -> None: ...
    def note(self, **attributes: Value) -> None: ...
    def failed(self, why: str) -> None: ...
    def end(self) -> None: ...


class Tracer(Protocol):
    def begin(
        self, name: str, *, kind: Kind, parent: str | None, links: Iterable[str], attributes: Mapping[str, Value]
    ) -> Span: ...
    def current_traceparent(self) -> str | None: ...
    def end(self, *, within_s: float) -> None: ...


class _NoSpan:
    traceparent = None

    def current(self) -> AbstractContextManager[object]:
        return _NOTHING

    def rename(self, name: str) -> None: ...
    def note(self, **attributes: Value) -> None: ...
    def failed(self, why: str) -> None: ...
    def end(self) -> None: ...


NO_SPAN: Span = _NoSpan()
