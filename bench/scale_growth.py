"""What a decision costs as decisions are stored: the tables are filled to each size, then loans are streamed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from loanloop_common.postgres import Pool

from bench.bursts import Burst, burst, median_of
from bench.filling import empty, fill_up, n_decided, scattered
from bench.installation import Installation, fresh_installation
from bench.predictor import start_predictor
from bench.progress import Progress, watched
from bench.registry import Options
from bench.result import Goal, Row

MOST = 1.2
N_BURSTS = 3
BURST_LOANS = 30_000
WARM_UP = 10_000


@dataclass(frozen=True)
class AtSize:
    """`n_decisions`: stored before the first of the bursts."""

    n_decisions: int
    median: Burst
    wal_bytes_per_loan: float

    def cost_us(self, of: Sequence[str]) -> float:
        return sum(self.median.cpu_us_per_loan[name] for name in of)

    def row(self) -> Row:
        cost = self.median.cpu_us_per_loan
        return {
            "what": f"{self.n_decisions:,} decisions stored",
            "loans_per_s": self.median.loans_per_s,
            "cpu_us_per_loan": sum(cost.values()),
            "predictor_us": cost["predictor"],
            "postgresql_us": cost["PostgreSQL"],
            "kafka_us": cost["Kafka"],
            "wal_bytes": self.wal_bytes_per_loan,
        }


@dataclass
class Stream:
    """Loans that were never sent before, one after another."""

    installation: Installation
    progress: Progress
    next: int = 0

    async def send(self, n_loans: int) -> Burst:
        first, self.next = self.next, self.next + n_loans
        return await burst(self.installation, self.progress, n_loans, first=first, loan_id=scattered)


async def at_size(stream: Stream, n_decisions: int) -> AtSize:
    pool = stream.installation.pool
    await fill_up(pool, n_decisions)
    await stream.send(WARM_UP)
    n_before, wal_before = await n_decided(pool), await wal_bytes(pool)
    bursts = [await stream.send(BURST_LOANS) for _ in range(N_BURSTS)]
    wal = await wal_bytes(pool) - wal_before
    return AtSize(n_before, median_of(bursts), wal / (N_BURSTS * BURST_LOANS))


async def wal_bytes(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


async def measure(sizes: Sequence[int], options: Options) -> list[AtSize]:
    """And the first size again, last: a server and a machine change as they run, and that is not growth."""
    async with fresh_installation() as installation, watched(installation) as progress:
        await start_predictor(installation)
        stream = Stream(installation, progress)
        found: list[AtSize] = []
        await stream.send(WARM_UP)
        for n_decisions in (*sizes, sizes[0]):
            if found and n_decisions < found[-1].n_decisions:
                await empty(installation.pool)
            options.say(f"{n_decisions:,} decisions stored")
            found.append(await at_size(stream, n_decisions))
    return found


def rows_of(found: Sequence[AtSize]) -> list[Row]:
    *grown, last = (one.row() for one in found)
    return [*grown, last | {"what": f"{last['what']}, again"}]


def goals_of(found: Sequence[AtSize]) -> tuple[Goal, ...]:
    """The largest beside the mean of the first and the last, which are small."""
    small, largest = (found[0], found[-1]), found[-2]
    sizes = f"{largest.n_decisions:,} decisions stored / {found[0].n_decisions:,}"
    return tuple(
        Goal(
            f"processor time of {' and '.join(who)} for a loan, between checkpoints: {sizes}",
            largest.cost_us(who) / statistics.fmean(one.cost_us(who) for one in small),
            MOST,
            "<=",
        )
        for who in (("PostgreSQL", "predictor"), ("PostgreSQL",))
    )


NOTE = (
    "Decisions stored: those that were there before three bursts, whose medians are given; most of them were not made "
    "by the predictor but written by SQL with the same keys, order, indexes and partition (the current month's), under "
    "loan ids that tell nothing of their time. The goals put the largest size beside the mean of the smallest before "
    "and after it, all between two checkpoints: whole pages that are logged after one aren't in it. "
    "wal_bytes: of PostgreSQL's log for a loan."
)
