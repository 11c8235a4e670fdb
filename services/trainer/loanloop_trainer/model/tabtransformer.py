"""TabTransformer: each feature of a loan is a token, the encoder lets them attend to each other.

Read from top to bottom, parts before the whole. It knows nothing of files, loans or training.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

N_CLASSES = 2


class Tokens(nn.Module):
    """A category is its embedding; a number is Linear(1, d_model) of it plus the embedding of its exact value.

    The latter is added to the token, so that the sequence stays as short as the loan has features.
    """

    offsets: Tensor

    def __init__(self, *, category_ids: Sequence[int], exact_ids: Sequence[int], d_model: int, embedding_std: float):
        super().__init__()
        # One table for all features: a single lookup, each feature with its own offset.
        sizes = torch.tensor([0, *category_ids, *exact_ids])
        self.register_buffer("offsets", torch.cumsum(sizes, 0)[:-1], persistent=False)
        self.embedding = nn.Embedding(int(sizes.sum()), d_model)
        self.weight = nn.Parameter(torch.empty(len(exact_ids), d_model))
        self.bias = nn.Parameter(torch.zeros(len(category_ids) + len(exact_ids), d_model))
        self.n_categories = len(category_ids)
        nn.init.normal_(self.embedding.weight, std=embedding_std)
        nn.init.normal_(self.weight, std=embedding_std)

    def forward(self, x_cat: Tensor, x_num: Tensor, x_exact: Tensor) -> Tensor:
        """(B, C), (B, K), (B, K) -> (B, C + K, d_model)"""
        ids = torch.cat([x_cat, x_exact], dim=1) + self.offsets
        embedded: Tensor = self.embedding(ids) + self.bias  # (B, C + K, d_model)
        linear = x_num[:, :, None] * self.weight  # (B, K, d_model)
        return torch.cat([embedded[:, : self.n_categories], embedded[:, self.n_categories :] + linear], dim=1)


class Dropout(nn.Module):
    """As nn.Dropout, drawn from a generator that is handed in: threads that share one draw in an order of chance."""

    def __init__(self, share: float):
        super().__init__()
        self.share = share

    def forward(self, x: Tensor, generator: Generator | None) -> Tensor:
        if not self.training or self.share == 0:
            return x
        return x * kept(x, self.share, generator)


def kept(x: Tensor, share: float, generator: Generator | None) -> Tensor:
    """Zeros for `share` of them and 1 / (1 - share), as many as `x` has numbers.

    Sixteen random bits decide about each, drawn four at a time: a fifth of the time of `bernoulli_`
    (docs/decisions/0046). The share is met to 1/65,536.
    """
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
    bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)[: x.numel()]
    stay = torch.ge(bits, round(share * 2**16) - 2**15, out=torch.empty(x.numel(), dtype=x.dtype, device=x.device))
    return stay.div_(1 - share).view(x.shape)


class Block(nn.Module):
    """Pre-norm encoder block. Written out, with one projection for q, k and v, it trains twice as fast as
    nn.TransformerEncoderLayer: with so few and so narrow tokens the fused attention is the slower one."""

    def __init__(self, *, d_model: int, n_heads: int, d_feedforward: int, dropout: float):
        super().__init__()
        self.n_heads = n_heads
        self.norm_attention = nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.norm_feedforward = nn.LayerNorm(d_model)
        self.widen = nn.Linear(d_model, d_feedforward)
        self.narrow = nn.Linear(d_feedforward, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, generator: Generator | None) -> Tensor:
        """(B, S, d_model) -> (B, S, d_model)"""
        x = x + self.dropout(self.attend(self.norm_attention(x)), generator)
        hidden = functional.relu(self.widen(self.norm_feedforward(x)))
        fed: Tensor = x + self.dropout(self.narrow(hidden), generator)
        return fed

    def attend(self, x: Tensor) -> Tensor:
        """(B, S, d_model) -> (B, S, d_model)"""
        n_tokens, d_model = x.shape[1], x.shape[2]
        split = self.qkv(x).view(-1, n_tokens, 3, self.n_heads, d_model // self.n_heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, S, d_model / H)
        similarity = (q * (d_model // self.n_heads) ** -0.5) @ k.transpose(-1, -2)  # (B, H, S, S)
        mixed = torch.softmax(similarity, dim=-1) @ v
        attended: Tensor = self.out(mixed.transpose(1, 2).reshape(-1, n_tokens, d_model))
        return attended


class TabTransformer(nn.Module):
    def __init__(
        self,
        *,
        category_ids: Sequence[int],
        exact_ids: Sequence[int],
        d_model: int,
        n_layers: int,
        n_heads: int,
        d_feedforward: int,
        dropout: float,
        embedding_std: float,
    ):
        """`category_ids` and `exact_ids`: how many indices each category and each number has."""
        if d_model % n_heads:
            raise ValueError(f"d_model must be a multiple of n_heads, however: {d_model=}, {n_heads=}")
        super().__init__()
        self.tokens = Tokens(
            category_ids=category_ids, exact_ids=exact_ids, d_model=d_model, embedding_std=embedding_std
        )
        self.blocks = nn.ModuleList(
            Block(d_model=d_model, n_heads=n_heads, d_feedforward=d_feedforward, dropout=dropout)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.hidden = nn.Linear(d_model, d_feedforward)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(d_feedforward, N_CLASSES)

    def forward(self, x_cat: Tensor, x_num: Tensor, x_exact: Tensor, generator: Generator | None = None) -> Tensor:
        """Logits (B, 2) from x_cat (B, C) int64, x_num (B, K) float32 and x_exact (B, K) int64.

        `generator` decides what drops out in training; without it torch's own generator does.
        """
        pooled = self.pooled(x_cat, x_num, x_exact, generator)
        logits: Tensor = self.head(self.dropout(functional.relu(self.hidden(pooled)), generator))
        return logits

    def pooled(self, x_cat: Tensor, x_num: Tensor, x_exact: Tensor, generator: Generator | None = None) -> Tensor:
        """What the encoder makes of a loan, (B, d_model): all that pretraining teaches."""
        x = self.tokens(x_cat, x_num, x_exact)
        for block in self.blocks:
            x = block(x, generator)
        mean: Tensor = self.norm(x).mean(dim=1)
        return mean


def parameter_groups(network: nn.Module, tokens: Tokens, weight_decay: float) -> list[dict[str, Any]]:
    """Only the matrices of encoder and head decay: not embeddings (the network's `tokens`), norms and biases."""
    spared = {id(parameter) for parameter in tokens.parameters()}
    parameters = [*network.parameters()]
    decayed = [p for p in parameters if p.ndim > 1 and id(p) not in spared]
    others = [p for p in parameters if p.ndim <= 1 or id(p) in spared]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
