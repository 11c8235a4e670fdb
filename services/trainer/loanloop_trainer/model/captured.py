"""A step of learning as one graph of the GPU: docs/decisions/0059."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class _Captured:
    """`rows` is what a replay reads, `loss` what it leaves."""

    graph: torch.cuda.CUDAGraph
    rows: Tensor
    loss: Tensor


class CapturedSteps:
    """Launches a step's hundreds of small operations at once: one by one, they keep the GPU waiting."""

    def __init__(
        self, step: Callable[[Tensor], Tensor], rehearse: Callable[[Callable[[], object]], None], generator: Generator
    ) -> None:
        """`step` learns from some rows, draws from `generator` alone and gives the loss, without waiting for the GPU.

        `rehearse` calls what it is given and undoes what that learnt: what operations set up at their first use must
        be there before a graph is captured, and must not be part of it.
        """
        self._step, self._rehearse, self._generator = step, rehearse, generator
        self._captured: dict[int, _Captured] = {}  # by the number of rows

    def __call__(self, rows: Tensor, seed: int) -> Tensor:
        """Takes a step that draws by `seed`. Its loss, until the next one is taken."""
        captured = self._captured.get(len(rows)) or self._capture(rows)
        captured.rows.copy_(rows)
        self._generator.manual_seed(seed)
        captured.graph.replay()
        return captured.loss

    def _capture(self, rows: Tensor) -> _Captured:
        """Records the step and does not take it."""
        graph, own_rows = torch.cuda.CUDAGraph(), rows.clone()
        self._rehearse(lambda: self._step(own_rows))
        graph.register_generator_state(self._generator)
        with torch.cuda.graph(graph):
            loss = self._step(own_rows)
        self._captured[len(rows)] = captured = _Captured(graph, own_rows, loss)
        return captured
