"""Spans of OpenTelemetry, sent to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names. Without it none is made, and
asking for one costs a call.

A batch is one span with links to the traces of its messages: one for each message would cost more than the message.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from loanloop_common.errors import in_one_line
from loanloop_common.settings import TracingSettings
from loanloop_common.trace_context import trace_of
from loanloop_common.tracing.spans import NO_SPAN, Kind, Span, Tracer, Value

__all__ = ["NO_SPAN", "Span", "begin_span", "begin_tracing", "current_traceparent", "end_tracing", "is_tracing", "span"]

log = structlog.get_logger()

_tracer: Tracer | None = None


def begin_tracing(service: str, *, instance_id: str) -> None:
    """If a collector is named. Where spans can't be made the service runs on without, and says why."""
    global _tracer  # noqa: PLW0603  # as the logging it is set up with: one for the process
    wanted = TracingSettings()
    if not wanted.is_wanted:
        return
    if wanted.unserved:
        log.warning("tracing_not_begun", why=wanted.unserved)
        return
    try:
        otlp = importlib.import_module("loanloop_common.tracing.otlp")
        _tracer = otlp.OtlpTracer(service, instance_id=instance_id)
    except ImportError:
        log.warning("tracing_not_installed", why="OTEL_EXPORTER_OTLP_ENDPOINT is set: pip install 'loanloop[tracing]'")
    except Exception as error:  # noqa: BLE001  # whatever the SDK finds wrong: no loan waits for telemetry
        log.warning("tracing_not_begun", why=f"a variable OTEL_… is not usable: {in_one_line(error)}")


def end_tracing(*, within_s: float = 3.0) -> None:
    """Sends what has ended, if the collector takes it in that time."""
    global _tracer
    ended, _tracer = _tracer, None
    if ended is not None:
        ended.end(within_s=within_s)


def is_tracing() -> bool:
    return _tracer is not None


def begin_span(
    name: str,
    attributes: Mapping[str, Value],
    *,
    kind: Kind = "internal",
    parent: str | None = None,
    links: Callable[[], Iterable[str]] | None = None,
) -> Span:
    """Below the traceparent `parent`, or else the current span. `links` is asked only where spans are made.

    Whoever begins a span ends it; one that is not ended is not sent.
    """
    if _tracer is None:
        return NO_SPAN
    return _tracer.begin(name, kind=kind, parent=parent, links=links() if links else (), attributes=attributes)


@contextmanager
def span(name: str, **attributes: Value) -> Iterator[Span]:
    """For what is rare: its log lines have its trace_id. What is raised is noted, and goes on."""
    made = begin_span(name, attributes)
    if made is NO_SPAN:
        yield made
        return
    try:
        with made.current(), structlog.contextvars.bound_contextvars(**trace_of(made.traceparent)):
            yield made
    except BaseException as error:
        made.failed(repr(error))
        raise
    finally:
        made.end()


def current_traceparent() -> str | None:
    """What leaves now hangs on the current span, if there is one."""
    return None if _tracer is None else _tracer.current_traceparent()
