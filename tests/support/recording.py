"""A handler that remembers what it was given, and fails when a test says so."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from aiokafka import ConsumerRecord


class RecordingHandler:
    """`failing(records)` says whether to raise; a batch that raised leaves no trace in `values`."""

    def __init__(self, failing: Callable[[Sequence[ConsumerRecord]], bool] = lambda _: False) -> None:
        self.failing = failing
        self.attempts = 0
        self.records: list[ConsumerRecord] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, records: Sequence[ConsumerRecord]) -> None:
        self.attempts += 1
        await self.gate.wait()
        if self.failing(records):
            raise RuntimeError("the test says no")
        self.records.extend(records)

    @property
    def values(self) -> Counter[bytes]:
        return Counter(record.value for record in self.records)


def numbered(n: int, *, start: int = 0) -> list[tuple[bytes, bytes]]:
    """(key, value) messages, each value once."""
    return [(f"k{number % 50}".encode(), f"v{number}".encode()) for number in range(start, start + n)]
