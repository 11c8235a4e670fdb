"""Logs and metrics. Every metric of the product is in the lists below; a misspelt name fails in mypy."""

import logging
import sys
import time
from typing import Any, Literal, TextIO, TypeVar, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CounterName = Literal[
    "loanloop_common_records_consumed_total",
    "loanloop_common_batches_failed_total",
    "loanloop_common_commits_failed_total",
    "loanloop_common_consumer_restarts_total",
    "loanloop_common_messages_published_total",
    "loanloop_common_messages_refused_total",
    "loanloop_common_outbox_published_total",
    "loanloop_predictor_decisions_total",
    "loanloop_predictor_skipped_total",
    "loanloop_predictor_requests_total",
]
GaugeName = Literal["loanloop_common_outbox_waiting_count", "loanloop_predictor_deployment_seq"]
HistogramName = Literal[
    "loanloop_common_batch_seconds",
    "loanloop_predictor_score_seconds",
    "loanloop_predictor_request_seconds",
    "loanloop_predictor_model_load_seconds",
]

_ABOUT_COUNTERS: dict[CounterName, tuple[str, tuple[str, ...]]] = {
    "loanloop_common_records_consumed_total": ("Records whose batch was handled", ("service", "consumer")),
    "loanloop_common_batches_failed_total": ("Attempts at a batch that raised", ("service", "consumer")),
    "loanloop_common_commits_failed_total": ("Batches handled, not committed: redelivered", ("service", "consumer")),
    "loanloop_common_consumer_restarts_total": ("Consumers that left and came back", ("service", "consumer")),
    "loanloop_common_messages_published_total": ("Messages acknowledged by Kafka", ("service", "topic")),
    "loanloop_common_messages_refused_total": ("Messages that can never succeed", ("service", "reason")),
    "loanloop_common_outbox_published_total": ("Outbox rows published", ("service",)),
    "loanloop_predictor_decisions_total": ("Loans decided and stored for the first time", ("channel",)),
    "loanloop_predictor_skipped_total": ("Loans of the stream that are not decided", ("reason",)),
    "loanloop_predictor_requests_total": ("Answers by REST", ("path", "status")),
}
_ABOUT_GAUGES: dict[GaugeName, tuple[str, tuple[str, ...]]] = {
    "loanloop_common_outbox_waiting_count": ("Outbox rows found at the last look", ("service",)),
    "loanloop_predictor_deployment_seq": ("Sequence of the deployment that this replica serves", ()),
}
_ABOUT_HISTOGRAMS: dict[HistogramName, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "loanloop_common_batch_seconds": (
        "From a batch's arrival to its commit",
        ("service", "consumer"),
        (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
    ),
    "loanloop_predictor_score_seconds": (
        "Encoding and forward passes of a batch",
        ("channel",),
        (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
    ),
    "loanloop_predictor_request_seconds": (
        "From a request's arrival to its answer",
        ("path",),
        (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
    ),
    "loanloop_predictor_model_load_seconds": (
        "From a bundle's bytes to a version ready to serve; requests go on meanwhile",
        (),
        (0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    ),
}

REGISTRY = CollectorRegistry()
_COUNTERS = {name: Counter(name, *about, registry=REGISTRY) for name, about in _ABOUT_COUNTERS.items()}
_GAUGES = {name: Gauge(name, *about, registry=REGISTRY) for name, about in _ABOUT_GAUGES.items()}
_HISTOGRAMS = {
    name: Histogram(name, meaning, labels, buckets=buckets, registry=REGISTRY)
    for name, (meaning, labels, buckets) in _ABOUT_HISTOGRAMS.items()
}


_BY_LABELS: dict[tuple[object, ...], object] = {}
Metric = TypeVar("Metric", Counter, Gauge, Histogram)


def count(name: CounterName, amount: float = 1, **labels: str) -> None:
    _of_labels(name, _COUNTERS[name], labels).inc(amount)


def set_gauge(name: GaugeName, value: float, **labels: str) -> None:
    _of_labels(name, _GAUGES[name], labels).set(value)


def observe(name: HistogramName, value: float, **labels: str) -> None:
    _of_labels(name, _HISTOGRAMS[name], labels).observe(value)


def _of_labels(name: str, metric: Metric, labels: dict[str, str]) -> Metric:
    """The library looks at each label again each time, which costs a request more than the counting."""
    if not labels:
        return metric
    key = (name, *labels.items())
    one = _BY_LABELS.get(key)
    if one is None:
        one = _BY_LABELS[key] = metric.labels(**labels)
    return cast("Metric", one)


def metrics_page() -> bytes:
    """All metrics of this process in the Prometheus text format."""
    return generate_latest(REGISTRY)


class _AwayBroker(logging.Filter):
    """Lets each line of aiokafka through once in 30 s; while a broker is away it would fill the log."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        now, line = time.monotonic(), str(record.msg)
        if now - self._last.get(line, -30.0) < 30:
            return False
        self._last[line] = now
        return True


def set_up_logging(
    service: str, *, log_format: Literal["console", "json"], level: str = "INFO", stream: TextIO = sys.stderr
) -> None:
    """Route structlog and the standard library's loggers to one stream in one format."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(log_format, stream))
    )
    handler.addFilter(_AwayBroker())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for library in ("aiokafka", "loanloop.faststream", "uvicorn.access", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)


def _rendering(log_format: str, stream: TextIO) -> list[Any]:
    # Plain tracebacks: structlog's own would print every local variable, a loan's fields among them.
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if log_format == "json":
        return [strip, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    plain = structlog.dev.plain_traceback
    return [strip, structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
