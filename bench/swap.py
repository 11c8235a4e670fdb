"""Hot swaps while REST and stream are served at half of what the predictor can take.

Half: REST and stream each at a quarter of its own maximal rate, which is measured first. The same load is put on
without swaps before; requests are due at equal distances, and their latency counts from when they were due.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from loanloop.runtime.children import Child
from loanloop_common.events import ModelDeployed, Topic
from loanloop_common.kafka import publish_batch

from bench.http_load import Answers, Load, put_load
from bench.installation import Installation, fresh_installation
from bench.machine import cores
from bench.memory import growth, rss_mib
from bench.predictor import applied, predict_bodies, start_predictor
from bench.progress import per_s, seen_until
from bench.registry import Options
from bench.result import Found, Goal, Row
from bench.workload import DAY, Message, make_bundle, make_live, make_messages, store_model

TITLE = "hot swaps at half of the maximal rate, REST and stream at once"
CLIENTS = 64
SHARE = 0.25
N_SWAPS, N_SWAPS_LONG = 200, 1000
MAX_RATE_S = 8.0
WARM_UP_S = 3.0
STEADY_S = 30.0
BURST_LOANS = 40_000
LATE_S = 1.0
MOST_S_A_SWAP = 2.0
PAUSE_S = 0.25  # in which the queue that a swap has left is gone
_TURN_S = 0.02
_LOOK_EVERY_S = 0.1
_CONSUMED_WITHIN_S = 60.0


@dataclass
class Swapping:
    """What was seen of each swap: from its deployment until it was applied, and the memory that was held then."""

    n_swaps: int
    times: list[tuple[float, float]] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Of the resident memory over `n_swaps`, by the slope of the second half, as a share of what it was."""
        return growth(self.rss_mib, over=self.n_swaps)


class LoanSender:
    """Sends loans that were never sent before at a rate, until it is told to stop."""

    def __init__(self, installation: Installation, per_s: float, *, first: int) -> None:
        self._broker = installation.broker
        self._per_s = per_s
        self.next = first

    async def run(self, stop: asyncio.Event) -> None:
        started, first = time.perf_counter(), self.next
        while not stop.is_set():
            n_due = first + int((time.perf_counter() - started) * self._per_s) - self.next
            await publish_batch(self._broker, Topic.LOAN_RECEIVED, make_messages(n_due, first=self.next))
            self.next += n_due
            await asyncio.sleep(_TURN_S)


async def n_streamed(installation: Installation) -> int:
    query = "SELECT count(*) FROM loan_data.predictions WHERE channel = 'stream'"
    return int(await installation.pool.fetchval(query))


async def at_full_rate(installation: Installation) -> Answers:
    load = Load(installation.infrastructure.rest_url, "/predict", CLIENTS, WARM_UP_S + MAX_RATE_S)
    return await put_load(load, predict_bodies())


async def max_streamed_per_s(installation: Installation, loans: list[Message]) -> float:
    """Of a burst, from when its first decisions were seen to the last. Raises RuntimeError where none is made."""
    await publish_batch(installation.broker, Topic.LOAN_RECEIVED, loans)
    decided = partial(n_streamed, installation)
    return per_s(await seen_until(len(loans), decided, "loans are decided", look_every_s=_LOOK_EVERY_S))


async def under_load(
    installation: Installation,
    rest_per_s: float,
    sender: LoanSender,
    work: Callable[[], Awaitable[None]],
    most_s: float,
) -> tuple[Answers, tuple[float, float]]:
    """Does the work while requests and loans come. Gives all answers, and when the work began and ended."""
    done = asyncio.Event()
    load = Load(installation.infrastructure.rest_url, "/predict", CLIENTS, WARM_UP_S + most_s, rest_per_s)
    sending = asyncio.create_task(sender.run(done))
    loading = asyncio.create_task(put_load(load, predict_bodies(), stop=done))
    await asyncio.sleep(WARM_UP_S)
    began = time.perf_counter()
    try:
        await work()
        ended = time.perf_counter()
    finally:
        done.set()
    await sending
    return await loading, (began, ended)


async def swap_once(installation: Installation, seq: int) -> None:
    """Between two stored versions, back and forth: each time the other one is loaded from the database."""
    version = f"v{1 + (seq - 1) % 2}"
    await make_live(installation.pool, seq, version)
    event = ModelDeployed(
        occurred_at=DAY, slot="sba", version=version, deployment_seq=seq, kind="deploy", pinned=False, previous=None,
        bundle_sha256="", actor="bench", reason="bench", deployed_at=DAY,
    )  # fmt: skip
    await publish_batch(installation.broker, Topic.MODEL_DEPLOYED, [(b"sba", event.model_dump_json().encode())])
    await applied(installation, seq)


async def swap_for(installation: Installation, child: Child, swapping: Swapping, most_s: float) -> None:
    started = time.perf_counter()
    while len(swapping.times) < swapping.n_swaps and (began := time.perf_counter()) - started < most_s:
        await swap_once(installation, len(swapping.times) + 2)
        swapping.times.append((began, time.perf_counter()))
        swapping.rss_mib.append(rss_mib(child.pid))
        await asyncio.sleep(PAUSE_S)


def row_of(what: str, answers: Answers, times: Sequence[tuple[float, float]]) -> Row:
    """Of the requests that a part of the times fell on, also where they were answered later or never."""
    part = answers.between(*times)
    seconds = sum(ended - began for began, ended in times)
    return {
        "what": what,
        "seconds": seconds,
        "requests_per_s": answers.n_good_within(*times) / seconds,
        "p50_ms": part.latency_ms(50),
        "p99_ms": part.latency_ms(99),
        "max_ms": part.latency_ms(100),
        "failed": part.n_failed,
        "late": int((part.latency_s > LATE_S).sum()),
    }


@dataclass(frozen=True)
class Measured:
    """`n_failed`: of all requests that were ever sent, those of a warm-up and of the maximal rate too."""

    rows: list[Row]
    swapping: Swapping
    rest_per_s: float
    streamed_per_s: float
    n_failed: int
    n_lost: int


async def measure(n_swaps: int, options: Options) -> Measured:
    async with fresh_installation() as installation:
        child = await start_predictor(installation)
        await store_model(installation.pool, 2, make_bundle("v2"))
        options.say("the maximal rates")
        fullest = await at_full_rate(installation)
        rest_per_s = SHARE * fullest.after_warm_up(WARM_UP_S).per_s
        streamed_per_s = SHARE * await max_streamed_per_s(installation, make_messages(BURST_LOANS))
        options.say(f"{rest_per_s:.0f} requests/s and {streamed_per_s:.0f} loans/s, without a swap")
        sender = LoanSender(installation, streamed_per_s, first=BURST_LOANS)
        loaded = partial(under_load, installation, rest_per_s, sender)
        steady, time_of_it = await loaded(lambda: asyncio.sleep(STEADY_S), STEADY_S)
        rows = [row_of("steady", steady, [time_of_it])]
        options.say(f"{n_swaps} swaps")
        swapping, most_s = Swapping(n_swaps), n_swaps * MOST_S_A_SWAP
        swapped, time_of_it = await loaded(lambda: swap_for(installation, child, swapping, most_s), most_s)
        rows += [row_of("while swapping", swapped, swapping.times), row_of("with the pauses", swapped, [time_of_it])]
        n_failed = sum(answers.n_failed for answers in (fullest, steady, swapped))
        n_lost = await lost(installation, sender.next)
    return Measured(rows, swapping, rest_per_s, streamed_per_s, n_failed, n_lost)


async def lost(installation: Installation, n_sent: int) -> int:
    """How many of the loans that were sent are not decided a while after the last."""
    deadline = time.perf_counter() + _CONSUMED_WITHIN_S
    while (missing := n_sent - await n_streamed(installation)) and time.perf_counter() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    return missing


def goals_of(measured: Measured) -> tuple[Goal, ...]:
    steady, swapped, whole = measured.rows
    swapping = measured.swapping
    return (
        Goal("swaps", len(swapping.times), swapping.n_swaps),
        Goal("failed requests", measured.n_failed, 0, "<="),
        Goal(f"requests later than {LATE_S:g} s", whole["late"], 0, "<="),
        Goal("p99 while swapping / steady p99", swapped["p99_ms"] / steady["p99_ms"], 1.5, "<="),
        Goal(f"growth of memory over {swapping.n_swaps} swaps", swapping.growth, 0.05, "<="),
        Goal("loans of the stream without a decision", measured.n_lost, 0, "<="),
    )


def rows_of(measured: Measured) -> list[Row]:
    steady, swapped, whole = measured.rows
    times, rss_mib = measured.swapping.times, measured.swapping.rss_mib
    of_swaps = {
        "swaps": len(times),
        "swap_p50_ms": float(np.median(np.diff(times))) * 1000,
        "rss_first_mib": rss_mib[0],
        "rss_last_mib": rss_mib[-1],
    }
    return [steady, swapped | of_swaps, whole]


def run(options: Options) -> Found:
    n_swaps = N_SWAPS_LONG if options.long else N_SWAPS
    measured = asyncio.run(measure(n_swaps, options))
    return Found(
        goals=goals_of(measured),
        rows=rows_of(measured),
        sizes={
            "swaps": len(measured.swapping.times),
            "requests_per_s": measured.rest_per_s,
            "loans_per_s": measured.streamed_per_s,
            "share_of_each_maximum": SHARE,
            "pause_s": PAUSE_S,
            "clients": CLIENTS,
            "threads": cores(),
            "preset": "sba",
        },
        bars=("what", "p99_ms"),
        notes=(
            "Growth: the slope of the resident memory over the second half of the swaps, times their number, as a "
            "share of what was held. While swapping: from a deployment until the predictor says that it serves it; "
            "between two there is a pause. swap_p50_ms: how long that was. A row has all requests that a part of its "
            "time fell on, answered or not; the goal of failed ones counts those of the warm-ups as well.",
        ),
    )
