"""Logs and metrics. Every metric of the product is in the catalogue, from which docs/metrics.md is written; a misspelt
name fails in mypy.
"""

from loanloop_common.telemetry.catalogue import CATALOGUE
from loanloop_common.telemetry.counters import CounterName
from loanloop_common.telemetry.logs import set_up_logging
from loanloop_common.telemetry.registry import (
    CONTENT_TYPE,
    REGISTRY,
    begin_metrics,
    count,
    metrics_page,
    observe,
    observe_each,
    replace_series,
    set_gauge,
    timed,
    watch_gauge,
)

__all__ = [
    "CATALOGUE",
    "CONTENT_TYPE",
    "REGISTRY",
    "CounterName",
    "begin_metrics",
    "count",
    "metrics_page",
    "observe",
    "observe_each",
    "replace_series",
    "set_gauge",
    "set_up_logging",
    "timed",
    "watch_gauge",
]
