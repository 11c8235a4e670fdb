"""The metrics of this process: made at their first use, or at its start where the catalogue says so for its service."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from loanloop_common.telemetry.about import LabelValues
from loanloop_common.telemetry.catalogue import CATALOGUE
from loanloop_common.telemetry.collectors import Bulk, Snapshot
from loanloop_common.telemetry.counters import COUNTERS, CounterName
from loanloop_common.telemetry.gauges import GaugeName
from loanloop_common.telemetry.histograms import BULK_HISTOGRAMS, HISTOGRAMS, BulkName, HistogramName
from loanloop_common.telemetry.snapshots import SnapshotName

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Kind = TypeVar("_Kind", Counter, Gauge, Histogram, Bulk, Snapshot)
_Labelled = TypeVar("_Labelled", Counter, Gauge, Histogram)

_making = threading.Lock()
_made: dict[str, object] = {}
_by_labels: dict[tuple[object, ...], object] = {}


def _metric(name: str, kind: type[_Kind]) -> _Kind:
    with _making:  # batches are scored in threads
        if name not in _made:
            _made[name] = _make(name, kind)
        return cast("_Kind", _made[name])


def _make(name: str, kind: type[object]) -> object:
    about = CATALOGUE[name]
    if kind is Counter:
        return Counter(name, about.meaning, about.labels, registry=REGISTRY)
    if kind is Gauge:
        return Gauge(name, about.meaning, about.labels, registry=REGISTRY)
    if kind is Histogram:
        return Histogram(name, about.meaning, about.labels, buckets=about.buckets, registry=REGISTRY)
    collector = Bulk(name, about) if kind is Bulk else Snapshot(name, about)
    REGISTRY.register(collector)
    return collector


def _one(name: str, kind: type[_Labelled], labels: dict[str, str]) -> _Labelled:
    """The library looks at each label again each time, which costs a request more than the counting."""
    key = (name, *labels.items())
    one = _by_labels.get(key)
    if one is None:
        metric = _metric(name, kind)
        one = _by_labels[key] = metric.labels(**labels) if labels else metric
    return cast("_Labelled", one)


def begin_metrics(service: str) -> None:
    """What has no labels, or known ones, is there from the start, at 0."""
    for counter in COUNTERS:
        _begin(counter, Counter, service)
    for histogram in HISTOGRAMS:
        _begin(histogram, Histogram, service)
    for bulk in BULK_HISTOGRAMS:
        if CATALOGUE[bulk].is_of(service):
            _metric(bulk, Bulk)


def _begin(name: str, kind: type[_Labelled], service: str) -> None:
    about = CATALOGUE[name]
    if not about.is_of(service):
        return
    if not about.labels:
        _one(name, kind, {})
    for values in about.known_to(service):
        _one(name, kind, dict(zip(about.labels, values, strict=True)))


def count(name: CounterName, amount: float = 1, **labels: str) -> None:
    """An amount of 0 makes the series."""
    _one(name, Counter, labels).inc(amount)


def set_gauge(name: GaugeName, value: float, **labels: str) -> None:
    _one(name, Gauge, labels).set(value)


def watch_gauge(name: GaugeName, read: Callable[[], float], **labels: str) -> None:
    """`read` is called whenever somebody asks for the metrics, in any thread."""
    _one(name, Gauge, labels).set_function(read)


def replace_series(name: SnapshotName, series: Mapping[LabelValues, float]) -> None:
    """All series there are, by the values of the labels in the catalogue's order."""
    _metric(name, Snapshot).series = dict(series)


def observe(name: HistogramName, value: float, **labels: str) -> None:
    _one(name, Histogram, labels).observe(value)


def observe_each(name: BulkName, values: NDArray[np.float64]) -> None:
    _metric(name, Bulk).add(values)


class timed:  # noqa: N801  # used like a function
    """`with timed(NAME, step="store"):` observes how long its body took, however it ends."""

    __slots__ = ("_labels", "_name", "_started")

    def __init__(self, name: HistogramName, **labels: str) -> None:
        self._name: HistogramName = name
        self._labels = labels

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        observe(self._name, time.perf_counter() - self._started, **self._labels)


def metrics_page() -> bytes:
    """All metrics of this process in the Prometheus text format. Takes milliseconds: call it in a thread."""
    return generate_latest(REGISTRY)
