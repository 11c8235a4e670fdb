"""The limit that a training is measured against: the same network by nn.TransformerEncoderLayer, in a plain loop.

What is not the block is the product's own: tokens, head, what drops out, learning rate, optimiser, order of the loans,
and a look at the held-out loans after each epoch, of which the best counts.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from loanloop_common.features import Encoder
from loanloop_common.portfolio import ModelConfig
from loanloop_trainer.model.learning import MAX_GRADIENT_NORM, optimizer_of
from loanloop_trainer.model.loans import Inputs, rows_of
from loanloop_trainer.model.phases import EVALUATION_ROWS
from loanloop_trainer.model.schedule import epoch_order, one_cycle, steps_per_epoch
from loanloop_trainer.model.tabtransformer import N_CLASSES, TabTransformer, Tokens, parameter_groups
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

WARM_UP_STEPS = 10
_NAMES = (  # of the shipped network's weights, and here
    (r"^blocks\.", "encoder.layers."),
    (r"\.qkv\.", ".self_attn.in_proj_"),
    (r"\.out\.", ".self_attn.out_proj."),
    (r"\.norm_attention\.", ".norm1."),
    (r"\.widen\.", ".linear1."),
    (r"\.narrow\.", ".linear2."),
    (r"\.norm_feedforward\.", ".norm2."),
    (r"^norm\.", "encoder.norm."),
    (r"^head\.", "head.3."),
    (r"^hidden\.", "head.0."),
)


class EagerTabTransformer(nn.Module):
    def __init__(self, encoder: Encoder, config: ModelConfig) -> None:
        super().__init__()
        width, wide = config.d_model, config.d_feedforward
        self.tokens = Tokens(
            category_ids=[part.n_ids for part in encoder.categories],
            exact_ids=[part.n_ids for part in encoder.numbers],
            d_model=width,
            embedding_std=config.embedding_std,
        )
        block = nn.TransformerEncoderLayer(
            width, config.n_heads, wide, config.dropout, batch_first=True, norm_first=True
        )
        # The product's blocks drop nothing inside attention and feed-forward; less work for this one too.
        block.dropout.p = block.self_attn.dropout = 0.0
        self.encoder = nn.TransformerEncoder(
            block, config.n_layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.head = nn.Sequential(
            nn.Linear(width, wide), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(wide, N_CLASSES)
        )

    def forward(self, x_cat: Tensor, x_num: Tensor, x_exact: Tensor) -> Tensor:
        """Logits (B, 2)."""
        logits: Tensor = self.head(self.encoder(self.tokens(x_cat, x_num, x_exact)).mean(dim=1))
        return logits

    def take_weights_of(self, shipped: TabTransformer) -> None:
        """It then gives the same logits, up to rounding."""
        own = self.state_dict()
        for name, value in shipped.state_dict().items():
            own[_named_here(name)].copy_(value)


def _named_here(shipped: str) -> str:
    """`blocks.0.qkv.weight` is `encoder.layers.0.self_attn.in_proj_weight`."""
    for theirs, ours in _NAMES:
        shipped = re.sub(theirs, ours, shipped)
    return shipped


@dataclass(frozen=True)
class Encoded:
    encoder: Encoder
    inputs: Inputs
    labels: Tensor


@dataclass(frozen=True)
class Learnt:
    """`roc_auc`: of the best epoch on the held-out loans; None where the time was over first.

    `n_steps` and `n_validations` are those that were taken.
    """

    rows_per_s: float
    roc_auc: float | None
    n_steps: int
    n_validations: int


def learn_eagerly(
    loans: Encoded, held_out: Encoded, config: ModelConfig, *, threads: int, seed: int, within_s: float
) -> Learnt:
    """All steps of the training, or as many as fit into `within_s`; timed after WARM_UP_STEPS, validation included."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    network = EagerTabTransformer(loans.encoder, config)
    optimizer = optimizer_of(parameter_groups(network, network.tokens, config.weight_decay))
    per_epoch = steps_per_epoch(len(loans.labels), config.batch_size)
    step, started, n_rows, scores = 0, time.perf_counter(), 0, list[float]()
    for step, rows in enumerate(_batches(len(loans.labels), per_epoch, config.epochs, seed), start=1):
        if step == WARM_UP_STEPS + 1:
            started, n_rows = time.perf_counter(), 0
        for group in optimizer.param_groups:
            group["lr"] = one_cycle(step, per_epoch * config.epochs, config.learning_rate)
        _step(network, optimizer, rows_of(loans.inputs, rows), loans.labels[rows])
        n_rows += len(rows)
        if step % per_epoch == 0:
            scores.append(_roc_auc(network, held_out))
        if step > WARM_UP_STEPS and time.perf_counter() - started > within_s:
            break
    rows_per_s = n_rows / (time.perf_counter() - started)
    return Learnt(rows_per_s, max(scores) if len(scores) == config.epochs else None, step, len(scores))


def _batches(n_rows: int, per_epoch: int, epochs: int, seed: int) -> Iterator[Tensor]:
    """As the product takes them: each epoch is put in order and divided once."""
    for epoch in range(epochs):
        yield from epoch_order(n_rows, seed=seed, epoch=epoch).tensor_split(per_epoch)


@torch.no_grad()
def _roc_auc(network: EagerTabTransformer, loans: Encoded) -> float:
    network.eval()
    places = torch.split(torch.arange(len(loans.labels)), EVALUATION_ROWS)
    logits = torch.cat([network(*rows_of(loans.inputs, rows)) for rows in places])
    network.train()
    return float(roc_auc_score(loans.labels.numpy(), (logits[:, 1] - logits[:, 0]).numpy()))


def _step(network: EagerTabTransformer, optimizer: AdamW, inputs: Inputs, labels: Tensor) -> float:
    optimizer.zero_grad()
    loss = functional.cross_entropy(network(*inputs), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
    optimizer.step()
    return loss.item()
