"""A training that can go on after a crash: weights and optimiser as safetensors, no pickle.

No random generator is in it: what a step draws follows from the seed and the step.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

FORMAT = 3
LearningPhase = Literal["pretrain", "train", "refit"]
PHASES: tuple[LearningPhase, ...] = get_args(LearningPhase)
_ABOUT = "about"  # JSON as bytes, beside the tensors


class CheckpointUnusable(ValueError):
    """The checkpoint is of another run, of other code, or damaged; the training has to start again."""


@dataclass(frozen=True)
class Position:
    """Where a training stands: after `step` steps of `phase`."""

    phase: LearningPhase = "pretrain"
    step: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    stale_epochs: int = 0


def to_bytes(position: Position, tensors: dict[str, Tensor], fingerprint: str) -> bytes:
    """`fingerprint` says which run this is: its data, hyperparameters and seed."""
    about = json.dumps({"format": FORMAT, "fingerprint": fingerprint, **asdict(position)}).encode()
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save({**plain, _ABOUT: torch.tensor(list(about), dtype=torch.uint8)})


def from_bytes(data: bytes, fingerprint: str) -> tuple[Position, dict[str, Tensor]]:
    """Raises CheckpointUnusable."""
    try:
        tensors = load(data)
        about: dict[str, Any] = json.loads(bytes(tensors.pop(_ABOUT).tolist()))
    except (SafetensorError, KeyError, ValueError) as broken:
        raise CheckpointUnusable(f"damaged: {broken}") from broken
    if (about.pop("format", None), about.pop("fingerprint", None)) != (FORMAT, fingerprint):
        raise CheckpointUnusable("it is of another run or of other code")
    return Position(**about), tensors


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def part(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
