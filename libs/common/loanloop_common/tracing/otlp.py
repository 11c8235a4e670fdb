"""Spans by OpenTelemetry's SDK, sent as protobuf over HTTP. The only importer of opentelemetry.

What else the standard's variables say (sampler, headers, limits, resource) the SDK reads itself.
"""

import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from itertools import islice

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from loanloop_common.trace_context import is_sampled
from loanloop_common.tracing.spans import Kind, Value

_KINDS: dict[Kind, trace.SpanKind] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "consumer": trace.SpanKind.CONSUMER,
}
_MOST_LINKS = 128  # the SDK's own limit, unless it is set


class OtlpSpan:
    def __init__(self, made: trace.Span) -> None:
        self._made = made

    @property
    def traceparent(self) -> str | None:
        return _traceparent_of(self._made)

    def current(self) -> AbstractContextManager[object]:
        return trace.use_span(self._made, record_exception=False, set_status_on_exception=False)

    def rename(self, name: str) -> None:
        self._made.update_name(name)

    def note(self, **attributes: Value) -> None:
        self._made.set_attributes(attributes)

    def failed(self, why: str) -> None:
        self._made.set_status(trace.StatusCode.ERROR, why)

    def end(self) -> None:
        self._made.end()


class OtlpTracer:
    def __init__(self, service: str, *, instance_id: str) -> None:
        named = {"service.name": f"loanloop-{service}", "service.instance.id": instance_id}
        ours = Resource.create(named | {"service.version": version("loanloop")})
        # What the operator names in OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES holds.
        self._provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("loanloop")

    def begin(
        self, name: str, *, kind: Kind, parent: str | None, links: Iterable[str], attributes: Mapping[str, Value]
    ) -> OtlpSpan:
        """Links to those traces that somebody wants to see, no more than a span may have."""
        wanted = (trace.Link(_remote(one)) for one in links if is_sampled(one))
        context = (
            None if parent is None else trace.set_span_in_context(trace.NonRecordingSpan(_remote(parent)), Context())
        )
        return OtlpSpan(
            self._tracer.start_span(
                name,
                context=context,
                kind=_KINDS[kind],
                links=list(islice(wanted, _MOST_LINKS)),
                attributes=attributes,
            )
        )

    def current_traceparent(self) -> str | None:
        return _traceparent_of(trace.get_current_span())

    def end(self, *, within_s: float) -> None:
        # A collector that is away is tried again for as long as a whole export may take.
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(within_s)


def _remote(traceparent: str) -> trace.SpanContext:
    flags = trace.TraceFlags(int(traceparent[53:], 16))
    return trace.SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), is_remote=True, trace_flags=flags)


def _traceparent_of(made: trace.Span) -> str | None:
    at = made.get_span_context()
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}" if at.is_valid else None
