"""What a training does at which step: its learning rate, its loans and what it draws follow from numbers alone."""

import math

import numpy as np
import torch
from torch import Tensor

from loanloop_trainer.model.checkpoint import PHASES, LearningPhase

WARM_UP_SHARE = 0.3


def one_cycle(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step: up to `peak` in the first three tenths, then down to nearly nothing."""
    warm_up = max(1, round(steps * WARM_UP_SHARE))
    if step < warm_up:
        return peak * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / warm_up)))
    return peak * (1e-4 + 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))))


def epoch_order(n_rows: int, *, seed: int, epoch: int) -> Tensor:
    """The same order for the same seed and epoch, whatever was drawn before: a resumed epoch needs no memory of it."""
    return torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def seed_of(*, seed: int, phase: LearningPhase, step: int, part: int) -> int:
    """What a part of a step draws depends on nothing drawn before: neither threads nor a resumption change it."""
    return int(np.random.SeedSequence([seed, PHASES.index(phase), step, part]).generate_state(1)[0])


def steps_per_epoch(n_rows: int, batch_size: int) -> int:
    return max(1, round(n_rows / batch_size))
