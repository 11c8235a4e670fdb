"""A snapshot as JSON, for `loanloop status --json`, the page's own addresses and the demo's report."""

from dataclasses import asdict
from typing import Any

from loanloop.observe.snapshot import Snapshot


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot for machines: what is computed from the facts is added beside them."""
    facts = asdict(snapshot)
    for row, instance in zip(facts["instances"], snapshot.instances, strict=True):
        row["state"] = "up" if instance.is_alive else "away"
        row["troubled"] = instance.troubled
    for row, lag in zip(facts["lags"], snapshot.lags, strict=True):
        row["waiting"] = lag.waiting
    live = snapshot.live
    facts["live_version"] = live.version if live else None
    facts["f1_by_day"] = {str(day.day): day.f1 for day in snapshot.days}
    return facts
