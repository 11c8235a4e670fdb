"""Every metric there is."""

from collections.abc import Mapping
from itertools import chain

from loanloop_common.telemetry.about import About
from loanloop_common.telemetry.counters import COUNTERS
from loanloop_common.telemetry.gauges import GAUGES
from loanloop_common.telemetry.histograms import BULK_HISTOGRAMS, HISTOGRAMS
from loanloop_common.telemetry.snapshots import SNAPSHOTS

CATALOGUE: Mapping[str, About] = dict(
    chain(COUNTERS.items(), GAUGES.items(), HISTOGRAMS.items(), BULK_HISTOGRAMS.items(), SNAPSHOTS.items())
)


def type_of(name: str) -> str:
    if name.endswith("_total"):
        return "counter"
    return "histogram" if name in {*HISTOGRAMS, *BULK_HISTOGRAMS} else "gauge"
