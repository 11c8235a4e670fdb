"""Processes that learn every batch together, on this machine or on many: docs/decisions/0044.

Nothing is unpickled: what goes between them are tensors, and JSON as a tensor of bytes.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

# Until the first of them has read and encoded the loans; what starts them ends them if it dies meanwhile.
JOIN_WITHIN = timedelta(hours=12)
# A step takes a fraction of a second; whoever has not answered for so long is lost.
ANSWER_WITHIN = timedelta(seconds=120)
_LOOK_EVERY_S = 0.05


class Ranks:
    """One of `n` processes, number `rank`. They say the same, in the same order, or all of them fail."""

    def __init__(self, store: Store | None = None, *, rank: int = 0, n: int = 1) -> None:
        """`store` is where they find each other; none is needed by one that is alone."""
        self.rank, self.n = rank, n
        self._store = store

    @classmethod
    def by_file(cls, path: str, *, rank: int, n: int) -> "Ranks":
        """Of processes of one machine; the file must not be there before the first of them comes."""
        if loopback := next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None):
            os.putenv("GLOO_SOCKET_IFNAME", loopback)  # read by gloo itself: nobody else need reach them
        return cls(dist.FileStore(path, n), rank=rank, n=n)  # type: ignore[attr-defined]

    @classmethod
    def by_torchrun(cls) -> "Ranks":
        """As the environment says that torchrun makes. Raises ValueError where it did not start this process."""
        store, rank, n = next(rendezvous("env://", timeout=JOIN_WITHIN))
        return cls(store, rank=rank, n=n)

    @contextmanager
    def met(self) -> Iterator[None]:
        """While they learn. The first says that it has something to teach; the others wait for that."""
        if self.n == 1:
            yield
            return
        assert self._store is not None
        meeting = called_together(self._store, self.n) if self.rank == 0 else called(self._store, self.rank)
        store = PrefixStore(meeting, self._store)
        try:
            dist.init_process_group("gloo", store=store, rank=self.rank, world_size=self.n, timeout=ANSWER_WITHIN)
            yield
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()

    def share_of(self, n_parts: int, rank: int | None = None) -> slice:
        """Which of so many parts this process computes, or that of another `rank`; in their order, nearly equal."""
        rank = self.rank if rank is None else rank
        return slice(rank * n_parts // self.n, (rank + 1) * n_parts // self.n)

    def gathered(self, own: Tensor, sizes: list[int]) -> Tensor:
        """(sum of `sizes`, ...) The rows of all processes in the order of their parts; `own` is this process's share of
        them."""
        if self.n == 1:
            return own
        lengths = [sum(sizes[self.share_of(len(sizes), rank)]) for rank in range(self.n)]
        padded = own.new_zeros((max(lengths), *own.shape[1:])).cpu()
        padded[: len(own)] = own
        every = padded.new_empty(self.n * padded.numel())
        dist.all_gather_into_tensor(every, padded.view(-1))
        shares = every.view(self.n, *padded.shape)
        return torch.cat([share[:length] for share, length in zip(shares, lengths, strict=True)]).to(own.device)

    def summed(self, tensors: list[Tensor]) -> list[Tensor]:
        """The sum over all processes of each tensor, the same bits in each process."""
        if self.n == 1:
            return tensors
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        on_cpu = flat.cpu()
        dist.all_reduce(on_cpu)
        sums = torch.split(on_cpu.to(flat.device), [tensor.numel() for tensor in tensors])
        return [total.view_as(tensor) for total, tensor in zip(sums, tensors, strict=True)]

    def as_first_says(self, value: float) -> float:
        if self.n == 1:
            return value
        said = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(said, 0)
        return float(said.item())

    def tell(self, about: dict[str, Any], tensors: list[Tensor]) -> None:
        """From the first process to the others, who `hear` it."""
        if self.n == 1:
            return
        shapes = [[str(t.dtype).removeprefix("torch."), *t.shape] for t in tensors]
        text = json.dumps([about, shapes]).encode()
        dist.broadcast(torch.tensor([len(text)]), 0)
        dist.broadcast(torch.tensor(list(text), dtype=torch.uint8), 0)
        for tensor in tensors:
            if tensor.numel():
                dist.broadcast(tensor.contiguous(), 0)

    def hear(self) -> tuple[Any, list[Tensor]]:
        """What the first process `tell`s."""
        length = torch.empty(1, dtype=torch.int64)
        dist.broadcast(length, 0)
        text = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(text, 0)
        about, shapes = json.loads(bytes(text.tolist()))
        tensors = [torch.empty(shape, dtype=getattr(torch, dtype)) for dtype, *shape in shapes]
        for tensor in tensors:
            if tensor.numel():
                dist.broadcast(tensor, 0)
        return about, tensors


def called_together(store: Store, n: int) -> str:
    """By the first process, when it has something to teach: the meeting's name, once all the others have heard it.

    After a restart the store still holds what the former processes wrote, their addresses too. So each process is
    called by a name that it has only just made up, until it answers, and a meeting has a name of its own.
    """
    meeting, missing = uuid4().hex, set(range(1, n))
    while missing:
        for rank in sorted(missing):
            if store.check([_here(rank)]):
                name = store.get(_here(rank)).decode()
                store.set(_call(name), meeting)
                if store.check([_heard(name, meeting)]):
                    missing.remove(rank)
        time.sleep(_LOOK_EVERY_S)  # noqa: TID251 - a thread of its own, and the store tells nobody
    return meeting


def called(store: Store, rank: int) -> str:
    name = uuid4().hex
    store.set(_here(rank), name)
    store.wait([_call(name)], JOIN_WITHIN)
    meeting = store.get(_call(name)).decode()
    store.set(_heard(name, meeting), "yes")
    return meeting


def _here(rank: int) -> str:
    return f"loanloop/here/{rank}"


def _call(name: str) -> str:
    return f"loanloop/call/{name}"


def _heard(name: str, meeting: str) -> str:
    return f"loanloop/heard/{name}/{meeting}"


ALONE = Ranks()
