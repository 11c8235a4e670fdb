"""One run of steps: what both phases share. Batches, learning rate, optimiser, checkpoints."""

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

import numpy as np
import torch
from loanloop_common.features import EncodedBatch
from loanloop_common.portfolio import ModelConfig
from torch import Generator, Tensor, nn
from torch.optim import AdamW

from loanloop_trainer.model import checkpoint
from loanloop_trainer.model.checkpoint import PHASES, Position
from loanloop_trainer.model.pretraining import Inputs, Projection
from loanloop_trainer.model.tabtransformer import TabTransformer
from loanloop_trainer.model.workers import Workers

MAX_GRADIENT_NORM = 1.0
WARM_UP_SHARE = 0.3
CHECKPOINT_EVERY_S = 5.0

SaveCheckpoint = Callable[[bytes], None]
Forward = Callable[[Inputs, Generator], Tensor]


def one_cycle(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step: up to `peak` in the first three tenths, then down to nearly nothing."""
    warm_up = max(1, round(steps * WARM_UP_SHARE))
    if step < warm_up:
        return peak * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / warm_up)))
    return peak * (1e-4 + 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))))


def epoch_order(n_rows: int, *, seed: int, epoch: int) -> Tensor:
    """The same order for the same seed and epoch, whatever was drawn before: a resumed epoch needs no memory of it."""
    return torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def chance_of(*, seed: int, position: Position, step: int, part: int, device: torch.device) -> Generator:
    """What a part of a step draws depends on nothing drawn before: neither threads nor a resumption change it."""
    words = np.random.SeedSequence([seed, PHASES.index(position.phase), step, part]).generate_state(1)
    return Generator(device).manual_seed(int(words[0]))


def steps_per_epoch(n_rows: int, batch_size: int) -> int:
    return max(1, round(n_rows / batch_size))


def inputs_of(batch: EncodedBatch, device: torch.device) -> Inputs:
    x_cat, x_num, x_exact = (torch.from_numpy(part).to(device) for part in batch)
    return x_cat, x_num, x_exact


def rows_of(inputs: Inputs, rows: Tensor) -> Inputs:
    x_cat, x_num, x_exact = inputs
    return x_cat[rows], x_num[rows], x_exact[rows]


@dataclass
class Learner:
    """The network with all that changes while it learns, and how to keep it."""

    network: TabTransformer
    projection: Projection
    workers: Workers
    config: ModelConfig
    seed: int
    fingerprint: str
    save_checkpoint: SaveCheckpoint
    checkpoint_every_s: float
    position: Position = field(default_factory=Position)

    def __post_init__(self) -> None:
        self.device = self.workers.device
        self._parameters = [*self.network.parameters(), *self.projection.parameters()]
        self.pretrained: dict[str, Tensor] = {}  # where learning from labels starts
        self.best: dict[str, Tensor] = {}
        self._saved_at = monotonic()
        self._optimizer = self._fresh_optimizer()

    def enter(self, position: Position) -> None:
        """Begins a phase with an optimiser that remembers nothing."""
        self.position = position
        self._optimizer = self._fresh_optimizer()

    def steps(self, n_rows: int, batch_size: int, epochs: int) -> Iterator[tuple[int, Tensor]]:
        """(number of the step from 1, its rows) from where the run stands to the end of the phase."""
        per_epoch = steps_per_epoch(n_rows, batch_size)
        order, order_of = torch.empty(0), -1
        for step in range(self.position.step, per_epoch * epochs):
            epoch, i = divmod(step, per_epoch)
            if epoch != order_of:
                order, order_of = epoch_order(n_rows, seed=self.seed, epoch=epoch), epoch
            # Parts of nearly one size: no batch is left with a single row.
            yield step + 1, order.tensor_split(per_epoch)[i].to(self.device)

    def learn(
        self,
        step: int,
        inputs: Inputs,
        rows: Tensor,
        forward: Forward,
        loss_of: Callable[[Tensor], Tensor],
        *,
        learning_rate: float,
    ) -> float:
        """One step on `rows` of `inputs`; the loss before it. `loss_of` sees what `forward` made of the whole batch."""
        ranks, parts = self.workers.ranks, [*enumerate(self.workers.parts_of(rows))]
        # One without a part still has a word in each sum: nothing.
        own = parts[ranks.share_of(len(parts))] or [(len(parts) + ranks.rank, rows[:0])]
        outputs = self.workers.map(lambda part: self._forward(step, *part, inputs, forward), own)
        sizes = [len(part) for _, part in parts]
        computed = torch.cat([output.detach().float() for output in outputs])
        whole = ranks.gathered(computed, sizes).requires_grad_()
        loss = loss_of(whole)
        loss.backward()  # type: ignore[no-untyped-call]
        assert whole.grad is not None
        first = sum(sizes[: ranks.share_of(len(parts)).start])
        slopes = torch.split(whole.grad[first : first + len(computed)], [len(output) for output in outputs])
        self._take(self.workers.map(lambda part: self._backward(*part), zip(outputs, slopes, strict=True)))
        self._move(learning_rate)
        return loss.item()

    def _take(self, gradients: Sequence[Sequence[Tensor | None]]) -> None:
        """Their sum, in the order of the parts, over all processes."""
        # The phase of pretraining does not reach the classifier, nor training the projection.
        reached = [i for i, slope in enumerate(gradients[0]) if slope is not None]
        present = [[slope for slope in each if slope is not None] for each in gradients]
        own = [functools.reduce(operator.add, parts) for parts in zip(*present, strict=True)]
        for parameter in self._parameters:
            parameter.grad = None
        for i, total in zip(reached, self.workers.ranks.summed(own), strict=True):
            self._parameters[i].grad = total

    def _forward(self, step: int, part: int, rows: Tensor, inputs: Inputs, forward: Forward) -> Tensor:
        chance = chance_of(seed=self.seed, position=self.position, step=step, part=part, device=self.device)
        with self._autocast():
            return forward(rows_of(inputs, rows), chance)

    def _backward(self, output: Tensor, slope: Tensor) -> Sequence[Tensor | None]:
        return torch.autograd.grad(output, self._parameters, slope.to(output.dtype), allow_unused=True)

    def _move(self, learning_rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()

    def advance(self, step: int) -> None:
        """The step is done, its epoch's validation included; keeps a checkpoint when one is due."""
        self.position = replace(self.position, step=step)
        if monotonic() - self._saved_at >= self.checkpoint_every_s:
            self.save_checkpoint(self.to_bytes())
            self._saved_at = monotonic()

    def _autocast(self) -> torch.autocast:
        wanted = self.config.mixed_precision
        enabled = wanted == "bf16" or (wanted == "auto" and self.device.type == "cuda")
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def to_bytes(self) -> bytes:
        tensors = {
            **checkpoint.prefixed("network", self.network.state_dict()),
            **checkpoint.prefixed("projection", self.projection.state_dict()),
            **checkpoint.prefixed("pretrained", self.pretrained),
            **checkpoint.prefixed("best", self.best),
            **checkpoint.prefixed("optimizer", checkpoint.optimizer_tensors(self._optimizer)),
        }
        return checkpoint.to_bytes(self.position, tensors, self.fingerprint)

    def resume(self, data: bytes) -> None:
        """Raises CheckpointUnusable, and then has changed nothing."""
        position, tensors = checkpoint.from_bytes(data, self.fingerprint)
        self.enter(position)
        self.network.load_state_dict(checkpoint.part("network", tensors))
        self.projection.load_state_dict(checkpoint.part("projection", tensors))
        self.pretrained, self.best = (
            {name: t.to(self.device) for name, t in checkpoint.part(prefix, tensors).items()}
            for prefix in ("pretrained", "best")
        )
        checkpoint.load_optimizer(self._optimizer, checkpoint.part("optimizer", tensors))

    def _fresh_optimizer(self) -> AdamW:
        decayed = self.network.parameter_groups(self.config.weight_decay)
        return AdamW([*decayed, {"params": [*self.projection.parameters()]}], lr=self.config.learning_rate, fused=True)
