"""Requests a second of POST /predict under 64 clients, beside other model servers with the same ONNX file.

The predictor validates and encodes each loan and stores its decision, with both events for the outbox, before it
answers; Kafka and PostgreSQL share its cores. The peers get inputs that are encoded already, and store nothing.
"""

import asyncio
from collections.abc import Sequence

from loanloop_common.bundle import unpack

from bench.http_load import Answers, Load, put_load
from bench.installation import fresh_installation
from bench.machine import cores
from bench.peers import PeerUnavailable
from bench.peers.serving import goals_beside, installations
from bench.predictor import N_BODIES, predict_bodies, start_predictor
from bench.processor_time import ProcessorTime
from bench.registry import Options
from bench.rest_peers import REST_PEERS, RestPeer, bodies_of, served_by
from bench.result import Found, Goal, Row
from bench.workload import make_bundle

TITLE = "requests a second of REST, beside other model servers"
CLIENTS = 64
WARM_UP_S = 3.0
LONE_S = 3.0


async def measured(name: str, url: str, path: str, bodies: Sequence[bytes], seconds: float) -> Row:
    """First one client alone, then all of them."""
    lone = await put_load(Load(url, path, 1, LONE_S), bodies)
    together = await put_load(Load(url, path, CLIENTS, WARM_UP_S + seconds), bodies)
    counted = together.after_warm_up(WARM_UP_S)
    return {
        "server": name,
        "requests_per_s": counted.per_s,
        "p50_ms": counted.latency_ms(50),
        "p99_ms": counted.latency_ms(99),
        "failed": together.n_failed + lone.n_failed,
        "lone_p50_ms": lone.after_warm_up(1.0).latency_ms(50),
        "load_cpu_us": load_cost_us(together),
    }


def load_cost_us(answers: Answers) -> float:
    """Processor time of the load generator for each request."""
    return answers.cpu_s / len(answers.status) * 1e6


async def of_the_predictor(name: str, seconds: float) -> Row:
    async with fresh_installation() as installation:
        await start_predictor(installation)
        used = ProcessorTime()
        row = await measured(name, installation.infrastructure.rest_url, "/predict", predict_bodies(), seconds)
        predictor_s = used.seconds()["predictor"]
        n_stored = await installation.pool.fetchval("SELECT count(*) FROM loan_data.predictions")
        scored_by = f"{cores()} threads of one process"
        return row | {
            "scored_by": scored_by,
            "stored": n_stored,
            "predictor_cpu_us": predictor_s / n_stored * 1e6,
        }


async def of_peer(peer: RestPeer, model: bytes, seconds: float, options: Options) -> Row:
    try:
        async with served_by(peer, model, options.say) as url:
            row = await measured(peer.name, url, peer.path, bodies_of(peer), seconds)
            return row | {"scored_by": peer.scored_by}
    except PeerUnavailable as missing:
        return {"server": peer.name, "note": str(missing)}


async def compared(seconds: float, options: Options) -> list[Row]:
    """The predictor before and after its peers, since machines change their speed."""
    options.say("the predictor")
    rows = [await of_the_predictor("loanloop, first", seconds)]
    model = unpack(make_bundle()).model
    for peer in REST_PEERS:
        options.say(peer.name)
        rows.append(await of_peer(peer, model, seconds, options))
    options.say("the predictor again")
    return [*rows, await of_the_predictor("loanloop, last", seconds)]


def run(options: Options) -> Found:
    seconds = 60.0 if options.long else 10.0
    rows = asyncio.run(compared(seconds, options))
    ours = (rows[0]["requests_per_s"] + rows[-1]["requests_per_s"]) / 2
    rates = [row.get("requests_per_s", 0.0) for row in rows[1:-1]]
    goals = goals_beside("requests/s", REST_PEERS, rates, ours)
    failed = sum(row["failed"] for row in (rows[0], rows[-1]))
    return Found(
        goals=(*goals, Goal("failed requests", failed, 0, "<=")),
        rows=rows,
        sizes={
            "clients": CLIENTS,
            "seconds": seconds,
            "warm_up_s": WARM_UP_S,
            "different_loans": N_BODIES,
            "preset": "sba",
        },
        bars=("server", "requests_per_s"),
        peers=installations(REST_PEERS),
        notes=(
            "The peers get the network's inputs, encoded beforehand, and store nothing. The load comes from one "
            "process on the same cores; load_cpu_us is what a request costs it, predictor_cpu_us what it costs the "
            "predictor's process. lone_p50_ms: one client alone. A peer that was measured with several settings is "
            "judged by its best.",
        ),
    )
