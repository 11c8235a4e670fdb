"""Pretraining without labels: two randomly masked views of a loan must look alike, and unlike other loans."""

import torch
from loanloop_common.features import MASK
from torch import Generator, Tensor, nn
from torch.nn import functional

from loanloop_trainer.model.loans import Inputs
from loanloop_trainer.model.tabtransformer import TabTransformer


class Projection(nn.Module):
    """The head that only pretraining has."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_model))

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, d_model) -> (B, d_model)"""
        projected: Tensor = self.layers(pooled)
        return projected


def masked_view(inputs: Inputs, share: float, generator: Generator) -> Inputs:
    """A random share of each row's tokens replaced by the mask's own index; a masked number also loses its value."""
    x_cat, x_num, x_exact = inputs
    hidden_cat = torch.rand(x_cat.shape, device=x_cat.device, generator=generator) < share
    hidden_num = torch.rand(x_num.shape, device=x_num.device, generator=generator) < share
    return (
        x_cat.masked_fill(hidden_cat, MASK),
        x_num.masked_fill(hidden_num, 0.0),
        x_exact.masked_fill(hidden_num, MASK),
    )


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy of two views (B, d) each; row i of both is the same loan.

    For each of the 2B views the positive is its twin and the negatives are the 2B - 2 others: neither the view itself
    nor its twin is among the negatives.
    """
    one, other = (functional.normalize(views.float(), dim=1) for views in (one, other))
    views = torch.cat([one, other])  # (2B, d)
    similarity = views @ views.T / temperature  # (2B, 2B)
    itself_or_twin = torch.eye(len(one), dtype=torch.bool, device=one.device).repeat(2, 2)
    negatives = similarity.masked_fill(itself_or_twin, -torch.inf).logsumexp(dim=1)
    positive = ((one * other).sum(dim=1) / temperature).repeat(2)
    # log(e^p + sum e^n) - p, the positive counted once.
    return (torch.logaddexp(positive, negatives) - positive).mean()


def projected_views(
    network: TabTransformer, projection: Projection, inputs: Inputs, *, mask_share: float, generator: Generator
) -> Tensor:
    """(B, 2, d_model): both masked views of each loan, projected."""
    views = [masked_view(inputs, mask_share, generator) for _ in range(2)]
    x_cat, x_num, x_exact = (torch.cat(pair) for pair in zip(*views, strict=True))
    pooled = network.pooled(x_cat, x_num, x_exact, generator)
    return torch.stack(projection(pooled).chunk(2), dim=1)
