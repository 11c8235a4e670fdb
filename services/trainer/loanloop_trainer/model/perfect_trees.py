"""Fitted trees as arrays of one shape, in float32, that decide and add up as they did in float64.

Every tree is filled up to the same depth, so that all of them are walked side by side, a level at a time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from loanloop_common.features import Floats

from loanloop_trainer.model.boosting import Boosting, Singles

Ids = npt.NDArray[np.int64]

ALWAYS_LEFT = np.float32(np.finfo(np.float32).max)
SIGNIFICANT_BITS = 24  # of a float32


@dataclass(frozen=True)
class PerfectTrees:
    """Node n has the children 2n + 1 (value <= threshold) and 2n + 2. `base`: what the sum of leaves starts from."""

    feature: Ids  # (T, 2^D - 1)
    threshold: Singles  # (T, 2^D - 1)
    leaf: Singles  # (T, 2^D)
    base: float

    @property
    def n_trees(self) -> int:
        return len(self.leaf)

    @property
    def depth(self) -> int:
        return int(self.leaf.shape[1]).bit_length() - 1


def perfect_trees(boosting: Boosting, *, weight: float) -> PerfectTrees:
    """Of the trees that are kept, each leaf times `weight`.

    Inputs are float32, so a threshold rounded down to float32 divides them as the float64 one does. Leaves are rounded
    to a step at which every partial sum is a float32: the sum is the same bits in whatever order it is taken.
    """
    rounds = boosting.fitted._predictors[: boosting.n_trees]
    depth = max(1, *(int(trees[0].get_max_depth()) for trees in rounds))
    feature = np.zeros((len(rounds), 2**depth - 1), np.int64)
    threshold = np.full(feature.shape, ALWAYS_LEFT, np.float32)
    leaf = np.zeros((len(rounds), 2**depth), np.float64)
    for i, (tree,) in enumerate(rounds):
        _fill(tree.nodes, 0, 0, depth, feature[i], threshold[i], leaf[i])
    base = float(boosting.fitted._baseline_prediction.item()) * weight
    return PerfectTrees(feature, threshold, _exactly_summed(leaf * weight), base)


def _fill(nodes: Any, source: int, target: int, levels: int, feature: Any, threshold: Any, leaf: Any) -> None:
    """Puts a subtree at place `target`, which has `levels` levels below it. A leaf above the last fills them all."""
    node = nodes[source]
    if node["is_leaf"]:
        first = (target + 1) * 2**levels - 2 ** levels_of(feature)
        leaf[first : first + 2**levels] = node["value"]
        return
    feature[target] = node["feature_idx"]
    threshold[target] = rounded_down(float(node["num_threshold"]))
    _fill(nodes, node["left"], 2 * target + 1, levels - 1, feature, threshold, leaf)
    _fill(nodes, node["right"], 2 * target + 2, levels - 1, feature, threshold, leaf)


def levels_of(nodes: Any) -> int:
    """Of a perfect tree with so many inner nodes."""
    return int(len(nodes) + 1).bit_length() - 1


def rounded_down(value: float) -> np.float32:
    """The largest float32 that is no more than `value`."""
    nearest = np.float32(min(value, float(ALWAYS_LEFT)))
    return nearest if float(nearest) <= value else np.nextafter(nearest, np.float32(-np.inf))


def _exactly_summed(leaf: Floats) -> Singles:
    largest_sum = max(float(np.abs(leaf).max(axis=1).sum()), 2.0**-64)
    step = 2.0 ** (np.ceil(np.log2(largest_sum)) - SIGNIFICANT_BITS + 1)
    rounded: Singles = (np.round(leaf / step) * step).astype(np.float32)
    return rounded
