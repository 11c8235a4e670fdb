"""The resident memory of each service while loans and their outcomes come, looked at after each 10,000 of both."""

from collections.abc import Mapping
from dataclasses import dataclass

from loanloop.runtime.children import Child
from loanloop_common.events import Topic

from bench.bursts import send
from bench.installation import Installation, fresh_installation
from bench.memory import growth, rss_mib
from bench.predictor import start_predictor
from bench.progress import Progress, watched
from bench.registry import Options
from bench.result import Goal, Row
from bench.workload import make_messages, make_outcomes

MOST = 0.05
CHUNK = 10_000
# Records of a chunk that each group reads; the trainer and the evaluator read them as wake-ups, and stay idle.
RECORDS = {"predictor": CHUNK, "ingest": 2 * CHUNK, "trainer": 2 * CHUNK, "evaluator": CHUNK}


@dataclass(frozen=True)
class Held:
    """MiB of each service after each chunk."""

    mib: Mapping[str, list[float]]

    def growth(self, service: str) -> float:
        """Over the second half of the loans."""
        held = self.mib[service]
        return growth(held, over=len(held) - 1 - len(held) // 2)

    def rows(self) -> list[Row]:
        return [
            {
                "what": f"memory of {service}",
                "rss_first_mib": held[0],
                "rss_half_way_mib": held[len(held) // 2],
                "rss_last_mib": held[-1],
                "growth": self.growth(service),
            }
            for service, held in self.mib.items()
        ]

    def goals(self) -> tuple[Goal, ...]:
        over = f"over the second half of {CHUNK * len(next(iter(self.mib.values()))):,} loans"
        return tuple(
            Goal(f"growth of {service}'s memory {over}", self.growth(service), MOST, "<=") for service in self.mib
        )


async def start_services(installation: Installation) -> dict[str, Child]:
    """The trainer makes its run when there are enough labels, and leaves it to others: what trains is no service."""
    start = installation.infrastructure.start_service
    others = {name: await start(name) for name in ("ingest", "evaluator")}
    others["trainer"] = await start("trainer", LOANLOOP_TRAINER__PROCESSES="0")
    return {"predictor": await start_predictor(installation), **others}


async def through_all(installation: Installation, progress: Progress, number: int) -> None:
    """Sends the chunk of that number, and returns when each service is done with it."""
    await send(installation, make_messages(CHUNK, first=number * CHUNK))
    await send(installation, make_outcomes(CHUNK, first=number * CHUNK), Topic.LOAN_OUTCOME)
    for group, n_records in RECORDS.items():
        await progress.until(group, (number + 1) * n_records)


async def measure(n_loans: int, options: Options) -> Held:
    async with fresh_installation() as installation, watched(installation) as progress:
        services = await start_services(installation)
        held: dict[str, list[float]] = {name: [] for name in services}
        for number in range(n_loans // CHUNK):
            await through_all(installation, progress, number)
            for name, child in services.items():
                held[name].append(rss_mib(child.pid))
            if number % 10 == 9:
                options.say(f"{(number + 1) * CHUNK:,} loans; MiB: {_in_words(held)}")
    return Held(held)


def _in_words(held: Mapping[str, list[float]]) -> str:
    return ", ".join(f"{name} {values[-1]:.0f}" for name, values in held.items())


NOTE = (
    "Growth: the slope of the resident memory over the second half of the looks, times that half, as a share of what "
    "was held when it began. A look comes when all four services are done with 10,000 more loans and as many outcomes; "
    "the trainer's run is left to other processes."
)
