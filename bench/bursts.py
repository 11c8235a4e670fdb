"""A burst of loans through the predictors of an installation, to its last commit: how fast, and for how much."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loanloop_common.events import Topic
from loanloop_common.kafka import publish_batch

from bench.installation import Installation
from bench.processor_time import ProcessorTime
from bench.progress import Progress, per_s
from bench.workload import Message, make_messages

GROUP = "predictor"
_SENT_AT_ONCE = 20_000
_UP_TO = 0.9  # of a burst; behind it, one replica may have no loans left


@dataclass(frozen=True)
class Burst:
    """Processor time from before the first loan was sent; loans a second once all were."""

    loans_per_s: float
    cpu_us_per_loan: dict[str, float]
    shares: dict[str, float]

    @property
    def busy_cores(self) -> float:
        return sum(self.cpu_us_per_loan.values()) * self.loans_per_s / 1e6


async def send(installation: Installation, messages: Sequence[Message], topic: Topic = Topic.LOAN_RECEIVED) -> None:
    for start in range(0, len(messages), _SENT_AT_ONCE):
        await publish_batch(installation.broker, topic, messages[start : start + _SENT_AT_ONCE])


async def burst(
    installation: Installation, progress: Progress, n_loans: int, *, first: int, loan_id: Callable[[int], str] = str
) -> Burst:
    """`first`: none of the loans from there on was ever sent."""
    messages = make_messages(n_loans, first=first, loan_id=loan_id)
    n_before = await progress.committed(GROUP)
    used = ProcessorTime()
    await send(installation, messages)
    seen = await progress.until(GROUP, n_before + n_loans)
    return Burst(per_s(seen, up_to=_UP_TO), used.us_each(n_loans), used.shares())


def median_of(bursts: Sequence[Burst]) -> Burst:
    """Figure by figure."""

    def of(parts: Sequence[dict[str, float]]) -> dict[str, float]:
        return {name: statistics.median(part[name] for part in parts) for name in parts[0]}

    return Burst(
        statistics.median(one.loans_per_s for one in bursts),
        of([one.cpu_us_per_loan for one in bursts]),
        of([one.shares for one in bursts]),
    )
