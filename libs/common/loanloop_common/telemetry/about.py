"""What the catalogue says of a metric."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Who = Literal["all", "ingest", "predictor", "trainer", "evaluator", "backup"]
LabelValues = tuple[str, ...]

# From half a millisecond to ten seconds: a statement, a batch, a request.
SHORT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True)
class About:
    """`who` has it. `known`: values of the labels, in their order, that are there from the start, at 0, so that the
    first event is seen as an increase; by the service that has them.
    """

    who: Who
    meaning: str
    labels: tuple[str, ...] = ()
    known: Mapping[Who, tuple[LabelValues, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = SHORT

    def is_of(self, service: str) -> bool:
        return self.who in ("all", service)

    def known_to(self, service: str) -> Iterator[LabelValues]:
        for who, known in self.known.items():
            if who in ("all", service):
                yield from known
