"""Scale: a second replica of the predictor, the cost of a decision as tables grow, and each service's memory.

Each of the three has a Kafka and a PostgreSQL of its own, on this machine, whose cores they share.
"""

import asyncio
from dataclasses import dataclass

from bench import scale_growth, scale_memory, scale_replicas
from bench.machine import cores
from bench.registry import Options
from bench.result import Found

TITLE = "a second replica, the cost of a decision as tables grow, memory"


@dataclass(frozen=True)
class Size:
    """`decisions`: stored before loans are streamed, each in its turn."""

    burst_loans: int
    decisions: tuple[int, ...]
    memory_loans: int


DEFAULT = Size(60_000, (100_000, 1_000_000), 200_000)
LONG = Size(400_000, (100_000, 1_000_000, 10_000_000), 1_000_000)


async def measure(
    size: Size, options: Options
) -> tuple[scale_replicas.Measured, list[scale_growth.AtSize], scale_memory.Held]:
    replicas = await scale_replicas.measure(size.burst_loans, options)
    grown = await scale_growth.measure(size.decisions, options)
    return replicas, grown, await scale_memory.measure(size.memory_loans, options)


def run(options: Options) -> Found:
    size = LONG if options.long else DEFAULT
    replicas, grown, held = asyncio.run(measure(size, options))
    return Found(
        goals=(replicas.goal, *scale_growth.goals_of(grown), *held.goals()),
        rows=[*replicas.rows(), *scale_growth.rows_of(grown), *held.rows()],
        sizes={
            "loans_of_a_burst_to_replicas": size.burst_loans,
            "turns_of_replicas": list(scale_replicas.TURNS),
            "decisions_stored": list(size.decisions),
            "bursts_at_each_size": scale_growth.N_BURSTS,
            "loans_of_each": scale_growth.BURST_LOANS,
            "warm_up_loans": scale_growth.WARM_UP,
            "loans_and_outcomes_while_memory_is_watched": size.memory_loans,
            "threads": cores(),
            "preset": "sba",
        },
        bars=("what", "cpu_us_per_loan"),
        notes=(replicas.note(), scale_growth.NOTE, scale_memory.NOTE),
        details={"rss_mib": dict(held.mib)},
    )
