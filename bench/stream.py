"""Loans a second through the predictor, from Kafka to commit, beside bare forward passes in the same run.

The limit is the plain form of the network on ONNX Runtime, on all cores, arranged as fast as it goes (engines.py). The
predictor decodes, validates, scores, stores each decision, publishes it, commits; Kafka and PostgreSQL share its cores.
"""

import asyncio
from dataclasses import dataclass

import torch
from loanloop_common.bundle import unpack
from loanloop_common.scoring import Scorer
from loanloop_trainer.model.exporting import onnx_of
from loanloop_trainer.model.loans import inputs_of

from bench.breakdown import steps
from bench.bursts import GROUP, send
from bench.engines import Engine, Session, rows_per_s
from bench.installation import Installation, fresh_installation
from bench.machine import cores
from bench.peers.serving import goals_beside
from bench.processor_time import ProcessorTime
from bench.progress import per_s, watched
from bench.registry import Options
from bench.result import Found, Goal, Row
from bench.runtimes import onnxruntime_of
from bench.stream_peers import STREAM_PEERS, rows_of, stream_peers
from bench.workload import deploy, encoded, make_bundle, make_messages, make_network

TITLE = "loans a second of the stream, beside bare forward passes"
BATCH_RECORDS = 4096


class BareForwards:
    """Both engines, measured before and after the stream, since machines change their speed."""

    def __init__(self) -> None:
        example = inputs_of(encoded().rows(slice(0, 4)), torch.device("cpu"))
        self._plain = Session(Engine("plain", onnxruntime_of(onnx_of(make_network(), example))), cores())
        self._served = Scorer(unpack(make_bundle()), threads=cores())
        self.plain: list[float] = []
        self.served: list[float] = []

    def measure(self) -> None:
        self.plain.append(rows_per_s(self._plain, encoded(), within_s=3.0))
        self.served.append(rows_per_s(self._served.log_odds, encoded(), within_s=3.0))

    def close(self) -> None:
        self._plain.close()
        self._served.close()


async def streamed(installation: Installation, n_loans: int) -> tuple[float, list[Row]]:
    """Loans a second, from the first commit to the last, and the processor time of each process for a loan."""
    await deploy(installation.pool, 1, make_bundle())
    for first in range(0, n_loans, 20_000):
        await send(installation, make_messages(min(20_000, n_loans - first), first=first))
    async with watched(installation) as progress:
        used = ProcessorTime()
        await installation.infrastructure.start_service(
            "predictor",
            LOANLOOP_PREDICTOR__BATCH_RECORDS=str(BATCH_RECORDS),
            LOANLOOP_PREDICTOR__THREADS=str(cores()),
        )
        loans_per_s = per_s(await progress.until(GROUP, n_loans))
        costs = used.us_each(n_loans)
    return loans_per_s, [{"what": f"process: {name}", "cpu_us_per_loan": us} for name, us in costs.items()]


@dataclass(frozen=True)
class Measured:
    loans_per_s: float
    bare: BareForwards
    time_goes: list[Row]
    peers: list[Row]


async def measure(n_loans: int, options: Options) -> Measured:
    options.say("exporting the network")
    bare = BareForwards()
    async with fresh_installation() as installation:
        options.say("bare forwards")
        bare.measure()
        options.say(f"{n_loans:,} loans")
        loans_per_s, by_process = await streamed(installation, n_loans)
        await installation.infrastructure.stop_services()
        bare.measure()
        options.say("where the time goes")
        by_step = await steps(installation.pool)
        model = unpack(make_bundle()).model
        peers = await stream_peers(installation.infrastructure.kafka_bootstrap, model, options.say)
    bare.close()
    return Measured(loans_per_s, bare, [*by_process, *by_step], peers)


def run(options: Options) -> Found:
    n_loans = 1_000_000 if options.long else 120_000
    measured = asyncio.run(measure(n_loans, options))
    loans_per_s, bare = measured.loans_per_s, measured.bare
    plain, served = sum(bare.plain) / len(bare.plain), sum(bare.served) / len(bare.served)
    rows: list[Row] = [
        {"what": "the stream, stored, published, committed", "loans_per_s": loans_per_s, "ratio": loans_per_s / plain},
        {"what": "bare forwards, plain ONNX Runtime", "loans_per_s": plain, "ratio": 1.0},
        {"what": "bare forwards, the engine that serves", "loans_per_s": served, "ratio": served / plain},
        *rows_of(measured.peers, plain),
    ]
    return Found(
        goals=(
            Goal("stream / bare forwards of plain ONNX Runtime on all cores", loans_per_s / plain, 1.0),
            *goals_beside("stream", STREAM_PEERS, [row.get("loans_per_s", 0.0) for row in measured.peers], loans_per_s),
        ),
        rows=rows + measured.time_goes,
        sizes={"loans": n_loans, "records_a_batch": BATCH_RECORDS, "threads": cores(), "preset": "sba"},
        bars=("what", "loans_per_s"),
        notes=(
            f"The stream is {loans_per_s / served:.2f} of the bare forwards of the engine that serves. "
            f"{_next(measured)} The peers get encoded loans and store nothing. cpu_us_per_loan: by process over the "
            "whole run, start included; by step on one batch, without waiting.",
        ),
    )


def _next(measured: Measured) -> str:
    """The largest share of processor time but that of the network."""
    costs = {row["what"]: row["cpu_us_per_loan"] for row in measured.time_goes}
    costs.pop("predictor: forward pass", None)
    costs.pop("process: predictor", None)
    largest = max(costs, key=lambda step: costs[step])
    return (
        f"After the forward pass the next bottleneck is {largest.partition(': ')[2]}, {costs[largest]:.1f} us a loan."
    )
