"""How far a training is, for whoever watches it."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any, Literal

Phase = Literal["audit", "pretrain", "train", "refit", "boost", "calibrate", "export"]
REPORT_EVERY_S = 0.5


@dataclass(frozen=True)
class Progress:
    phase: Phase
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0  # of all epochs of the phase
    loss: float | None = None
    rows_per_s: float | None = None
    eta_s: float | None = None  # of the phase
    validation_roc_auc: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


OnProgress = Callable[[Progress], None]


class Meter:
    """Speed and time left of one phase, reported at most every half second and at its last step."""

    def __init__(self, phase: Phase, on_progress: OnProgress, *, epochs: int, steps: int, first: int) -> None:
        self._phase, self._on_progress, self._epochs, self._steps = phase, on_progress, epochs, steps
        self._first, self._started, self._reported = first, monotonic(), 0.0
        self._rows = 0

    def advance(self, *, step: int, rows: int, loss: float, validation_roc_auc: float | None = None) -> None:
        self._rows += rows
        now = monotonic()
        # A loss that is no number is never kept back: the watcher may want to end it here.
        if now - self._reported < REPORT_EVERY_S and step < self._steps and math.isfinite(loss):
            return
        self._reported, taken = now, max(now - self._started, 1e-6)
        self._on_progress(
            Progress(
                phase=self._phase,
                epoch=min((step - 1) * self._epochs // self._steps + 1, self._epochs),
                epochs=self._epochs,
                step=step,
                steps=self._steps,
                loss=loss,
                rows_per_s=self._rows / taken,
                eta_s=(self._steps - step) * taken / (step - self._first),
                validation_roc_auc=validation_roc_auc,
            )
        )
