"""Two replicas of the predictor beside one, each with one scoring thread, on the same stream in turns."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.bursts import GROUP, Burst, burst, median_of
from bench.installation import Installation, fresh_installation
from bench.machine import cores
from bench.predictor import applied
from bench.processor_time import IDLE, OTHERS
from bench.progress import Progress, watched
from bench.registry import Options
from bench.result import Goal, Row
from bench.workload import deploy, make_bundle

GAIN = 1.8
TURNS = (1, 2, 2, 1)
WARM_UP = 10_000
LEAST_CORES = 3  # two that score, and something for broker and database
MOST_FOR_OTHERS = 0.1


@asynccontextmanager
async def replicas(installation: Installation, n: int, progress: Progress) -> AsyncIterator[None]:
    """All in the group, with a model; stopped at the end."""
    for number in range(1, n + 1):
        await installation.infrastructure.start_service(
            "predictor",
            instance=f"predictor-{number}",
            LOANLOOP_PREDICTOR__THREADS="1",
            LOANLOOP_PREDICTOR__PORT="0",
        )
    await applied(installation, 1, by=n)
    await progress.joined(GROUP, n)
    yield
    await installation.infrastructure.stop_services()


@dataclass(frozen=True)
class Measured:
    one: Burst
    two: Burst

    @property
    def gain(self) -> float:
        return self.two.loans_per_s / self.one.loans_per_s

    @property
    def goal(self) -> Goal:
        what = "loans/s of two replicas of one scoring thread / one"
        return Goal(what, self.gain, GAIN, not_judged=self._why_not_judged())

    def _why_not_judged(self) -> str | None:
        needed = max(math.ceil(2 * self.one.busy_cores), LEAST_CORES)
        if cores() < needed:
            return f"{cores()} cores, and two replicas with broker and database need {needed}"
        taken = max(self.one.shares[OTHERS], self.two.shares[OTHERS])
        return f"other programs took {taken:.0%} of the cores" if taken > MOST_FOR_OTHERS else None

    def rows(self) -> list[Row]:
        return [*_rows("one replica", self.one, 1.0), *_rows("two replicas", self.two, self.gain)]

    def note(self) -> str:
        one, two = (sum(part.cpu_us_per_loan.values()) for part in (self.one, self.two))
        idle, others = self.two.shares[IDLE], self.two.shares[OTHERS]
        return (
            f"Replicas, each of one scoring thread, one after another in the order {TURNS}, medians: a loan takes "
            f"{one:.0f} us of processor time in all with one, {two:.0f} with two, of which {cores()} cores could do "
            f"{cores() / two * 1e6:,.0f} a second. With two, {others:.0%} of the cores' time went to other programs "
            f"and {idle:.0%} was idle, start and end of a burst included."
        )


def _rows(what: str, made: Burst, ratio: float) -> list[Row]:
    parts = [
        {
            "what": f"{what}: {name}",
            "cpu_us_per_loan": made.cpu_us_per_loan.get(name),
            "share_of_the_cores": share,
        }
        for name, share in made.shares.items()
    ]
    return [{"what": what, "loans_per_s": made.loans_per_s, "ratio": ratio}, *parts]


async def measure(n_loans: int, options: Options) -> Measured:
    taken: dict[int, list[Burst]] = {1: [], 2: []}
    async with fresh_installation() as installation, watched(installation) as progress:
        await deploy(installation.pool, 1, make_bundle())
        for turn, n in enumerate(TURNS):
            first = turn * (WARM_UP + n_loans)
            async with replicas(installation, n, progress):
                await burst(installation, progress, WARM_UP, first=first)
                taken[n].append(await burst(installation, progress, n_loans, first=first + WARM_UP))
            options.say(f"replicas: {n}, loans/s: {taken[n][-1].loans_per_s:,.0f}")
    return Measured(median_of(taken[1]), median_of(taken[2]))
