"""One run of steps: what all phases share. Batches, learning rate, optimiser, checkpoints."""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

import torch
from loanloop_common.portfolio import ModelConfig
from torch import Generator, Tensor, nn
from torch.optim import AdamW

from loanloop_trainer.model import checkpoint
from loanloop_trainer.model.captured import CapturedSteps
from loanloop_trainer.model.checkpoint import Position
from loanloop_trainer.model.loans import Inputs, rows_of
from loanloop_trainer.model.pretraining import Projection
from loanloop_trainer.model.schedule import epoch_order, seed_of, steps_per_epoch
from loanloop_trainer.model.tabtransformer import TabTransformer, parameter_groups
from loanloop_trainer.model.workers import Workers

MAX_GRADIENT_NORM = 1.0
CHECKPOINT_EVERY_S = 5.0

SaveCheckpoint = Callable[[bytes], None]


@dataclass(frozen=True)
class Objective:
    """What a phase learns from `inputs`: `forward` makes outputs of some rows, logits (B, 2) or views (B, 2, d_model);
    `loss` sees those of a whole batch and where its rows are, (B,)."""

    inputs: Inputs
    forward: Callable[[Inputs, Generator], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]

    def __len__(self) -> int:
        return len(self.inputs[0])


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
    captures: bool = False  # each step as one graph of the GPU

    def __post_init__(self) -> None:
        self.device = self.workers.device
        self._generator = Generator(self.device)
        self._objective: Objective | None = None
        self._captured: CapturedSteps | None = None
        self._parameters = [*self.network.parameters(), *self.projection.parameters()]
        self.pretrained: dict[str, Tensor] = {}  # where learning from labels starts
        self.best: dict[str, Tensor] = {}
        self._saved_at = monotonic()
        self._optimizer = self._fresh_optimizer()

    def enter(self, position: Position) -> None:
        """Begins a phase with an optimiser that remembers nothing."""
        self.position = position
        self._optimizer = self._fresh_optimizer()
        self._objective, self._captured = None, None

    def start(self, objective: Objective) -> None:
        """Learns this from now on, to the end of the phase."""
        self._objective = objective
        self._captured = CapturedSteps(self._learn_whole, self.rehearse, self._generator) if self.captures else None
        self.network.train()

    @property
    def objective(self) -> Objective:
        assert self._objective is not None, "a phase starts with what it learns"
        return self._objective

    def steps(self, batch_size: int, epochs: int) -> Iterator[tuple[int, Tensor]]:
        """(number of the step from 1, its rows) from where the run stands to the end of the phase."""
        n_rows = len(self.objective)
        per_epoch = steps_per_epoch(n_rows, batch_size)
        batches: tuple[Tensor, ...] = ()
        for step in range(self.position.step, per_epoch * epochs):
            epoch, i = divmod(step, per_epoch)
            if i == 0 or not batches:
                order = epoch_order(n_rows, seed=self.seed, epoch=epoch).to(self.device)
                batches = order.tensor_split(per_epoch)  # of nearly one size: none is left with a single row
            yield step + 1, batches[i]

    def learn(self, step: int, rows: Tensor, *, learning_rate: float) -> float:
        """One step; the loss before it."""
        self._set_learning_rate(learning_rate)
        if self._captured is None:
            return self._learn_in_parts(step, rows)
        return self._captured(rows, self._seed_of(step, part=0)).item()

    @torch.no_grad()
    def rehearse(self, learn: Callable[[], object]) -> None:
        """Learns, and has learnt nothing: in place, weights and what the optimiser remembers are as they were."""
        before = [parameter.clone() for parameter in self._parameters]
        remembered = {name: t.clone() for name, t in checkpoint.optimizer_tensors(self._optimizer).items()}
        with torch.enable_grad():
            learn()
        for parameter, value in zip(self._parameters, before, strict=True):
            parameter.copy_(value)
        for name, tensor in checkpoint.optimizer_tensors(self._optimizer).items():
            tensor.copy_(remembered.get(name, torch.zeros_like(tensor)))  # AdamW begins with zeros

    def _learn_whole(self, rows: Tensor) -> Tensor:
        outputs = self._forward(rows, self._generator)
        loss = self.objective.loss(outputs.float(), rows)
        self._set_gradients([torch.autograd.grad(loss, self._parameters, allow_unused=True)])
        self._step_optimizer()
        return loss.detach()

    def _learn_in_parts(self, step: int, rows: Tensor) -> float:
        ranks, parts = self.workers.ranks, [*enumerate(self.workers.parts_of(rows))]
        # One without a part still has a word in each sum: nothing.
        own = parts[ranks.share_of(len(parts))] or [(len(parts) + ranks.rank, rows[:0])]
        outputs = self.workers.map(lambda part: self._forward_part(step, *part), own)
        sizes = [len(part) for _, part in parts]
        computed = torch.cat([output.detach().float() for output in outputs])
        whole = ranks.gathered(computed, sizes).requires_grad_()
        loss = self.objective.loss(whole, rows)
        loss.backward()  # type: ignore[no-untyped-call]
        assert whole.grad is not None
        first = sum(sizes[: ranks.share_of(len(parts)).start])
        gradients = torch.split(whole.grad[first : first + len(computed)], [len(output) for output in outputs])
        self._set_gradients(self.workers.map(lambda part: self._backward(*part), zip(outputs, gradients, strict=True)))
        self._step_optimizer()
        return loss.item()

    def _set_gradients(self, gradients: Sequence[Sequence[Tensor | None]]) -> None:
        """Their sum, in the order of the parts, over all processes."""
        # The phase of pretraining does not reach the classifier, nor training the projection.
        reached = [i for i, gradient in enumerate(gradients[0]) if gradient is not None]
        present = [[gradient for gradient in each if gradient is not None] for each in gradients]
        own = [functools.reduce(operator.add, parts) for parts in zip(*present, strict=True)]
        for parameter in self._parameters:
            parameter.grad = None
        for i, total in zip(reached, self.workers.ranks.summed(own), strict=True):
            self._parameters[i].grad = total

    def _forward_part(self, step: int, part: int, rows: Tensor) -> Tensor:
        return self._forward(rows, Generator(self.device).manual_seed(self._seed_of(step, part)))

    def _forward(self, rows: Tensor, generator: Generator) -> Tensor:
        with self._autocast():
            return self.objective.forward(rows_of(self.objective.inputs, rows), generator)

    def _seed_of(self, step: int, part: int) -> int:
        return seed_of(seed=self.seed, phase=self.position.phase, step=step, part=part)

    def _backward(self, output: Tensor, gradient: Tensor) -> Sequence[Tensor | None]:
        return torch.autograd.grad(output, self._parameters, gradient.to(output.dtype), allow_unused=True)

    def _set_learning_rate(self, learning_rate: float) -> None:
        for group in self._optimizer.param_groups:
            if self.captures:
                group["lr"].fill_(learning_rate)  # a graph reads it where it is
            else:
                group["lr"] = learning_rate

    def _step_optimizer(self) -> None:
        # Of what is kept: the projection is pretraining's alone.
        nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()

    def advance(self, step: int) -> None:
        """The step is done, its epoch's validation included; keeps a checkpoint when one is due."""
        self.position = replace(self.position, step=step)
        if monotonic() - self._saved_at >= self.checkpoint_every_s:
            self.save_checkpoint(self.to_bytes())
            self._saved_at = monotonic()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.mixed_precision == "bf16")

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
        groups = parameter_groups(self.network, self.network.tokens, self.config.weight_decay)
        learning_rate = torch.tensor(0.0, device=self.device) if self.captures else 0.0
        return optimizer_of([*groups, {"params": [*self.projection.parameters()]}], learning_rate)


def optimizer_of(groups: list[dict[str, Any]], learning_rate: float | Tensor = 0.0) -> AdamW:
    """`learning_rate`: until a step says another; a tensor where a graph of the GPU reads it."""
    return AdamW(groups, lr=learning_rate, fused=True, capturable=isinstance(learning_rate, Tensor))
