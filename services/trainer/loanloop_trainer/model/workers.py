"""A batch in parts, side by side: each part on a thread of its own, which computes on that thread alone."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch
from torch import Tensor

from loanloop_trainer.model.ranks import ALONE, Ranks

# A smaller part takes its thread longer to be told of than to be computed.
MIN_PART_ROWS = 64

Part = TypeVar("Part")
Result = TypeVar("Result")


class Workers:
    """Operations on so few rows gain nothing from torch's own threads, which split each of them; parts of a batch that
    go through the whole network side by side do: docs/decisions/0026. On a GPU the batch stays whole.
    """

    def __init__(self, n: int | None = None, ranks: Ranks = ALONE, device: str | None = None) -> None:
        """`n`: None for one on each core. Other processes of `ranks` have as many each. `device`: None for a GPU if
        torch sees one. From now on all of torch in this process computes on one thread for each that asks it to and,
        on a GPU, in one order."""
        self.ranks = ranks
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.n = 1 if self.device.type == "cuda" else n or len(os.sched_getaffinity(0))
        if self.device.type == "cuda":
            _sum_in_one_order()
        torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(self.n, "learning", initializer=torch.set_num_threads, initargs=(1,))

    @property
    def can_capture(self) -> bool:
        """Whether a step can be one graph: what processes exchange goes by way of the CPU."""
        return self.device.type == "cuda" and self.ranks.n == 1

    def parts_of(self, rows: Tensor) -> list[Tensor]:
        """Of nearly one size, one for each worker of each process at most."""
        return [*rows.tensor_split(max(1, min(self.n * self.ranks.n, len(rows) // MIN_PART_ROWS)))]

    def map(self, work: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
        """In the order of `parts`."""
        return list(self._pool.map(work, parts))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


def _sum_in_one_order() -> None:
    """Else the gradient of an embedding is summed in an order of chance."""
    os.putenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch reads it at its first product, and refuses without it
    torch.use_deterministic_algorithms(True)
    # Of what is allocated and not yet written nothing is read here; to fill it would be operations of their own.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set up at import
