"""How far a training is, as series of metrics."""

from collections.abc import Mapping
from typing import Any

from loanloop_common.telemetry.snapshots import SNAPSHOTS, SnapshotName

Series = dict[tuple[str, ...], float]

# What is in a run's progress, and the metric that tells it.
_TOLD: dict[SnapshotName, str] = {
    "loanloop_training_epoch": "epoch",
    "loanloop_training_epochs": "epochs",
    "loanloop_training_loss": "loss",
    "loanloop_training_rows_per_second": "rows_per_s",
}


def nothing_trained() -> dict[SnapshotName, Series]:
    series: dict[SnapshotName, Series] = {name: {} for name, about in SNAPSHOTS.items() if about.who == "trainer"}
    return series | {"loanloop_training_running": {(): 0.0}}


def training_series(
    phase: str | None, progress: Mapping[str, Any], heartbeat_age_s: float | None
) -> dict[SnapshotName, Series]:
    """Of the run that is queued or under way. A phase that has no steps is at 0 until the next one begins."""
    series = nothing_trained() | {"loanloop_training_running": {(): 1.0}}
    if heartbeat_age_s is not None:
        series["loanloop_training_heartbeat_age_seconds"] = {(): max(heartbeat_age_s, 0.0)}
    if phase is not None:
        steps = progress.get("steps") or 0
        share = min(progress.get("step", 0) / steps, 1.0) if steps else 0.0
        series["loanloop_training_progress_ratio"] = {(phase,): share}
    for name, key in _TOLD.items():
        if progress.get(key):
            series[name] = {(): float(progress[key])}
    return series
