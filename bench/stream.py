"""Loans a second through the predictor, from Kafka to commit, beside bare forward passes in the same run.

The limit is the plain form of the network on ONNX Runtime, on all cores, in the faster of the two arrangements that
engines.py has. The predictor decodes, validates, scores, stores each decision, publishes it, commits; Kafka and
PostgreSQL share its cores.
"""

import asyncio
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from loanloop_common.bundle import unpack
from loanloop_common.features import EncodedBatch
from loanloop_trainer.model.exporting import onnx_of
from loanloop_trainer.model.loans import inputs_of

from bench.breakdown import steps
from bench.bursts import GROUP, send
from bench.engine_sessions import Arranged, Served, Session, rows_per_s
from bench.engines import LIMITS, SERVED, limits_of
from bench.installation import Installation, fresh_installation
from bench.machine import cores
from bench.peers.serving import goals_beside, installations
from bench.processor_time import ProcessorTime
from bench.progress import per_s, watched
from bench.registry import Options
from bench.result import Found, Goal, Row
from bench.stream_peers import STREAM_PEERS, rows_of, stream_peers
from bench.workload import deploy, encoded, make_bundle, make_messages, make_network

TITLE = "loans a second of the stream, beside bare forward passes"
BATCH_RECORDS = 4096
BARE_S = 3.0
PREDICTOR, KAFKA, FORWARD = "process: predictor", "Kafka", "predictor: forward pass"


class BareForwards:
    """The limit's arrangements and what serves, before and after the stream, since machines change their speed."""

    def __init__(self) -> None:
        example = inputs_of(encoded().rows(slice(0, 4)), torch.device("cpu"))
        self._arranged: dict[str, Arranged] = {SERVED: Served(cores())}
        self._arranged |= {one.name: Session(one, cores()) for one in limits_of(onnx_of(make_network(), example))}
        self._rates: dict[str, list[float]] = {name: [] for name in self._arranged}

    def measure(self, batch: EncodedBatch, within_s: float) -> None:
        for name, arranged in self._arranged.items():
            self._rates[name].append(rows_per_s(arranged, batch, within_s=within_s))

    def per_s(self) -> dict[str, float]:
        return {name: statistics.fmean(rates) for name, rates in self._rates.items()}

    def close(self) -> None:
        for arranged in self._arranged.values():
            arranged.close()


def limit_of(bare_per_s: Mapping[str, float]) -> str:
    """The name of the arrangement that is faster here."""
    return max(LIMITS, key=lambda name: bare_per_s[name])


async def streamed(installation: Installation, n_loans: int) -> tuple[float, list[Row]]:
    """Loans a second, and the processor time of each process for a loan, both from the first commit to the last."""
    await deploy(installation.pool, 1, make_bundle())
    producing = ProcessorTime()
    for first in range(0, n_loans, 20_000):
        await send(installation, make_messages(min(20_000, n_loans - first), first=first))
    produced_us = producing.us_each(n_loans)[KAFKA]
    async with watched(installation) as progress:
        await installation.infrastructure.start_service(
            "predictor",
            LOANLOOP_PREDICTOR__BATCH_RECORDS=str(BATCH_RECORDS),
            LOANLOOP_PREDICTOR__THREADS=str(cores()),
        )
        begun = await progress.until(GROUP, 1)
        used = ProcessorTime()
        seen = [*begun, *(await progress.until(GROUP, n_loans))[1:]]
        loans_per_s = per_s(seen)
        costs = used.us_each(n_loans - begun[-1][1])
    by_process = [{"what": f"process: {name}", "cpu_us_per_loan": us} for name, us in costs.items()]
    return loans_per_s, [*by_process, {"what": f"{KAFKA}, while the loans were sent", "cpu_us_per_loan": produced_us}]


@dataclass(frozen=True)
class Measured:
    loans_per_s: float
    bare_per_s: dict[str, float]
    by_process: list[Row]
    by_step: list[Row]
    peers: list[Row]


async def measure(n_loans: int, options: Options) -> Measured:
    options.say("exporting the network")
    bare = BareForwards()
    async with fresh_installation() as installation:
        options.say("bare forwards")
        bare.measure(encoded(), BARE_S)
        options.say(f"{n_loans:,} loans")
        loans_per_s, by_process = await streamed(installation, n_loans)
        await installation.infrastructure.stop_services()
        bare.measure(encoded(), BARE_S)
        options.say("where the time goes")
        by_step = await steps(installation.pool)
        model = unpack(make_bundle()).model
        peers = await stream_peers(installation.infrastructure.kafka_bootstrap, model, options.say)
    bare.close()
    return Measured(loans_per_s, bare.per_s(), by_process, by_step, peers)


def run(options: Options) -> Found:
    n_loans = 1_000_000 if options.long else 120_000
    measured = asyncio.run(measure(n_loans, options))
    loans_per_s, bare_per_s = measured.loans_per_s, measured.bare_per_s
    limit = limit_of(bare_per_s)
    return Found(
        goals=(
            Goal("stream / bare forwards of plain ONNX Runtime on all cores", loans_per_s / bare_per_s[limit], 1.0),
            *goals_beside("stream", STREAM_PEERS, [row.get("loans_per_s", 0.0) for row in measured.peers], loans_per_s),
        ),
        rows=[*rows_of([*_rates(measured), *measured.peers], bare_per_s[limit]), *time_goes(measured)],
        sizes={"loans": n_loans, "records_a_batch": BATCH_RECORDS, "threads": cores(), "preset": "sba"},
        bars=("what", "loans_per_s"),
        peers=installations(STREAM_PEERS),
        notes=(
            f"Plain ONNX Runtime has a session for each core, or one session of as many threads; the limit is what was "
            f"faster here: {limit}. "
            f"The stream is {loans_per_s / bare_per_s[SERVED]:.2f} of the bare forwards of the engine that serves. "
            f"{_next(measured)} The peers get encoded loans and store nothing. cpu_us_per_loan: by process from the "
            "first commit to the last, so without its start and what the batch after the first had taken; by step on "
            "one batch, without waiting.",
        ),
    )


def _rates(measured: Measured) -> list[Row]:
    bare = [{"what": f"bare forwards, {name}", "loans_per_s": per_s} for name, per_s in measured.bare_per_s.items()]
    return [{"what": "the stream, stored, published, committed", "loans_per_s": measured.loans_per_s}, *bare]


def time_goes(measured: Measured) -> list[Row]:
    """By process, then by step of the predictor; what its steps leave is a row of its own."""
    steps_us = sum(row["cpu_us_per_loan"] for row in measured.by_step)
    rest = {"what": "predictor: all else", "cpu_us_per_loan": _us_of(measured.by_process, PREDICTOR) - steps_us}
    return [*measured.by_process, *measured.by_step, rest]


def _next(measured: Measured) -> str:
    """Who takes most processor time besides the network's forward pass."""
    forward_us = _us_of(measured.by_step, FORWARD)
    costs = {row["what"].partition(": ")[2]: row["cpu_us_per_loan"] for row in measured.by_process}
    outside = "the predictor outside its forward pass"
    costs[outside] = costs.pop("predictor") - forward_us
    largest = max((name for name in costs if name), key=lambda name: costs[name])
    return f"After the forward pass the next bottleneck is {largest}, {costs[largest]:.1f} us a loan."


def _us_of(rows: list[Row], what: str) -> float:
    return next(float(row["cpu_us_per_loan"]) for row in rows if row["what"] == what)
