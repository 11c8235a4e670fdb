"""The trained network in the form that is served, arranged for the runtimes that score with it.

It equals the module up to what MAX_SIMILARITY cuts off. An exporter writes down what the module does, so the module
decides how fast its graph can run (docs/decisions/0034-the-network-is-exported-in-a-faster-form.md).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from loanloop_trainer.model.tabtransformer import Block, TabTransformer, Tokens

# exp(80) times hundreds of tokens is within float32. Trained similarities are some units large.
MAX_SIMILARITY = 80.0


class ServingForm(nn.Module):
    """All tokens of a batch as the rows of one matrix: each linear layer is one product with its bias in it."""

    def __init__(self, network: TabTransformer):
        super().__init__()
        self.tokens = _FoldedTokens(network.tokens)
        self.blocks = nn.ModuleList(_FlatBlock(cast("Block", block), self.tokens.n_tokens) for block in network.blocks)
        self.norm = network.norm
        self.hidden = network.hidden
        self.head = network.head

    def forward(self, x_cat: Tensor, x_num: Tensor, x_exact: Tensor) -> Tensor:
        """Logits (B, 2) from x_cat (B, C) int64, x_num (B, K) float32 and x_exact (B, K) int64."""
        tokens = self.tokens(x_cat, x_num, x_exact)
        _, n_tokens, d_model = tokens.shape
        x = tokens.reshape(-1, d_model)
        for block in self.blocks:
            x = block(x)
        mean = self.norm(x).reshape(-1, n_tokens, d_model).mean(dim=1)
        logits: Tensor = self.head(functional.relu(self.hidden(mean)))
        return logits


class _FoldedTokens(nn.Module):
    """The bias of each feature is part of its rows in the table; the numbers' lines are one product."""

    offsets: Tensor
    table: Tensor
    lines: Tensor

    def __init__(self, tokens: Tokens):
        super().__init__()
        self.n_tokens, d_model = tokens.bias.shape
        sizes = torch.diff(tokens.offsets, append=torch.tensor([tokens.embedding.num_embeddings]))
        table = tokens.embedding.weight.detach() + tokens.bias.detach().repeat_interleave(sizes, dim=0)
        n_numbers = len(tokens.weight)
        lines = torch.zeros(n_numbers, self.n_tokens, d_model)
        for number, line in enumerate(tokens.weight.detach()):
            lines[number, tokens.n_categories + number] = line
        self.register_buffer("offsets", tokens.offsets, persistent=False)
        self.register_buffer("table", table)
        self.register_buffer("lines", lines.reshape(n_numbers, self.n_tokens * d_model))

    def forward(self, x_cat: Tensor, x_num: Tensor, x_exact: Tensor) -> Tensor:
        """(B, C), (B, K), (B, K) -> (B, C + K, d_model)"""
        ids = torch.cat([x_cat, x_exact], dim=1) + self.offsets
        by_id = functional.embedding(ids, self.table)
        if not len(self.lines):  # a portfolio of categories alone: not every runtime has products of nothing
            return by_id
        return by_id + (x_num @ self.lines).reshape(-1, self.n_tokens, self.table.shape[1])


class _FlatBlock(nn.Module):
    """A block on (B · S, d_model). Softmax written out: exp over all rows at once, its sums by a product with ones."""

    ones: Tensor

    def __init__(self, block: Block, n_tokens: int):
        super().__init__()
        d_model = block.out.in_features
        self.n_heads, self.n_tokens, self.d_head = block.n_heads, n_tokens, d_model // block.n_heads
        self.norm_attention, self.norm_feedforward = block.norm_attention, block.norm_feedforward
        self.query, self.key, self.value = _projections(block.qkv, query_scale=self.d_head**-0.5)
        self.out, self.widen, self.narrow = block.out, block.widen, block.narrow
        self.register_buffer("ones", torch.ones(n_tokens, self.d_head))

    def forward(self, x: Tensor) -> Tensor:
        """(B · S, d_model) -> (B · S, d_model)"""
        x = x + self.attend(self.norm_attention(x))
        hidden = functional.relu(self.widen(self.norm_feedforward(x)))
        fed: Tensor = x + self.narrow(hidden)
        return fed

    def attend(self, x: Tensor) -> Tensor:
        """(B · S, d_model) -> (B · S, d_model)"""
        split = (-1, self.n_tokens, self.n_heads, self.d_head)
        q = self.query(x).reshape(split).permute(0, 2, 1, 3)  # (B, H, S, d_head)
        k = self.key(x).reshape(split).permute(0, 2, 3, 1)  # (B, H, d_head, S)
        v = self.value(x).reshape(split).permute(0, 2, 1, 3)
        weights = torch.exp(torch.clamp(q @ k, -MAX_SIMILARITY, MAX_SIMILARITY))
        mixed = (weights @ v) / (weights @ self.ones)
        attended: Tensor = self.out(mixed.permute(0, 2, 1, 3).reshape(x.shape))
        return attended


def _projections(qkv: nn.Linear, *, query_scale: float) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    """One layer each for queries, keys and values; the scale of the similarities is in the queries' weights."""
    d_model = qkv.in_features
    parts = []
    for i, scale in enumerate((query_scale, 1.0, 1.0)):
        rows = slice(i * d_model, (i + 1) * d_model)
        layer = nn.Linear(d_model, d_model)
        layer.weight.data = qkv.weight.detach()[rows] * scale
        layer.bias.data = qkv.bias.detach()[rows] * scale
        parts.append(layer)
    query, key, value = parts
    return query, key, value
