"""Network and trees together: what their log-odds come to, and the one graph that is served.

The trees are in plain operators (look-up, comparison, addition), none of a tree library: any runtime can serve them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from loanloop_common.features import MISSING, EncodedBatch, Floats
from torch import Tensor, nn
from torch.nn import functional

from loanloop_trainer.domain.blending import blended
from loanloop_trainer.model.boosting import MISSING_NUMBER, Boosting, Singles
from loanloop_trainer.model.perfect_trees import Ids, PerfectTrees, perfect_trees


@dataclass(frozen=True)
class Ensemble:
    """`network_share` of the log-odds are the network's, the rest the trees'."""

    boosting: Boosting
    network_share: float

    def log_odds(self, by_network: Floats, loans: EncodedBatch) -> Floats:
        """(B,) of the loans of which the network said `by_network`."""
        return blended(by_network, self.boosting.log_odds(loans), self.network_share)

    @property
    def weights(self) -> dict[str, float]:
        return {"tabtransformer": self.network_share, "boosting": round(1.0 - self.network_share, 2)}


class EnsembleForm(nn.Module):
    """The network's logits and the trees' sum; takes and gives what the network alone does."""

    def __init__(self, network: nn.Module, ensemble: Ensemble):
        super().__init__()
        self.network = network
        self.network_share = ensemble.network_share
        self.trees = TreeForm(ensemble.boosting, weight=1.0 - ensemble.network_share)

    def forward(self, x_cat: Tensor, x_num: Tensor, x_exact: Tensor) -> Tensor:
        """Logits (B, 2) from x_cat (B, C) int64, x_num (B, K) float32 and x_exact (B, K) int64."""
        logits = self.network(x_cat, x_num, x_exact) * self.network_share
        of_default = self.trees(x_cat, x_num, x_exact)
        summed: Tensor = logits + torch.stack([torch.zeros_like(of_default), of_default], dim=1)
        return summed


class TreeForm(nn.Module):
    """All comparisons of all trees at once, then from the leaves up: of two children the one that a loan goes to.

    Loans are the last dimension, so that each look-up copies a row of them; comparisons that trees share are made once.
    """

    shares: Tensor
    offsets: Tensor
    feature: Tensor
    threshold: Tensor
    left: Tensor
    step_right: Tensor

    def __init__(self, boosting: Boosting, *, weight: float):
        super().__init__()
        trees = perfect_trees(boosting, weight=weight)
        feature, threshold, comparison_of = _distinct_comparisons(trees)
        sizes = [0, *(len(table) for table in boosting.tables)]
        self.base, self.depth = trees.base, trees.depth
        self.register_buffer("shares", torch.from_numpy(np.concatenate([*boosting.tables, np.empty(0, np.float32)])))
        self.register_buffer("offsets", torch.tensor(np.cumsum(sizes)[:-1]))
        self.register_buffer("feature", torch.from_numpy(feature))
        self.register_buffer("threshold", torch.from_numpy(threshold)[:, None])
        leaf = torch.from_numpy(trees.leaf)
        self.register_buffer("left", leaf[:, 0::2].reshape(-1, 1))
        self.register_buffer("step_right", (leaf[:, 1::2] - leaf[:, 0::2]).reshape(-1, 1))
        for level in range(trees.depth):
            nodes = comparison_of[:, 2**level - 1 : 2 ** (level + 1) - 1]
            self.register_buffer(f"level_{level}", torch.from_numpy(np.ascontiguousarray(nodes).reshape(-1)))

    def forward(self, x_cat: Tensor, x_num: Tensor, x_exact: Tensor) -> Tensor:
        """(B,) the trees' part of the log-odds."""
        is_right = self.compared(x_cat, x_num, x_exact).float()  # (N, B)
        value = self.left + is_right.index_select(0, self._level(self.depth - 1)) * self.step_right
        for level in range(self.depth - 2, -1, -1):
            left, right = value.reshape(-1, 2, value.shape[1]).unbind(1)  # (T · 2^level, B) each
            value = left + is_right.index_select(0, self._level(level)) * (right - left)
        summed: Tensor = value.sum(dim=0) + self.base
        return summed

    def compared(self, x_cat: Tensor, x_num: Tensor, x_exact: Tensor) -> Tensor:
        """(N, B) whether a loan is above each of the thresholds."""
        x = torch.where(x_exact == MISSING, MISSING_NUMBER, x_num)
        if len(self.shares):
            shares = functional.embedding(x_cat + self.offsets, self.shares[:, None]).squeeze(-1)
            x = torch.cat([shares, x], dim=1)
        x = x.T  # (C + K, B)
        return x.index_select(0, self.feature) > self.threshold

    def _level(self, level: int) -> Tensor:
        """(T · 2^level,) which comparison each node of the level makes, tree by tree."""
        return self.get_buffer(f"level_{level}")


def _distinct_comparisons(trees: PerfectTrees) -> tuple[Ids, Singles, Ids]:
    """(N,) feature and threshold of each, and which one a node makes (T, 2^D - 1)."""
    pairs = np.empty(trees.feature.size, [("feature", np.int64), ("threshold", np.float32)])
    pairs["feature"], pairs["threshold"] = trees.feature.reshape(-1), trees.threshold.reshape(-1)
    distinct, which = np.unique(pairs, return_inverse=True)
    return (
        # Not ascontiguousarray: a single number is that wherever it lies, and torch refuses its stride.
        distinct["feature"].copy(),
        distinct["threshold"].copy(),
        which.reshape(trees.feature.shape).astype(np.int64),
    )
