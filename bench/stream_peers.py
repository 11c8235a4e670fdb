"""Stream processors that the predictor's stream is compared with, each serving the same ONNX file from topic to topic.

They get the loans as the network's inputs in JSON, encoded beforehand, and store nothing: validating, encoding and
storing is spared them. Each has as many processes as there are cores, but for MLServer, which reads without a group.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from loanloop.runtime.children import Child
from loanloop_common.features import EncodedBatch
from loanloop_common.kafka import Broker, make_broker, publish_messages, stop_broker
from loanloop_common.kafka.publishing import Message
from loanloop_common.settings import KafkaSettings

from bench.machine import cores
from bench.peers import PeerUnavailable, program
from bench.peers.running import end_of, peer_process, three_free_ports
from bench.rest_peers import as_inference_request
from bench.result import Goal
from bench.topics import make_topics
from bench.workload import ENCODER_ROWS, encoded

MEASURED_S = 15.0
_READY_WITHIN_S = 60.0
_PROBE_EVERY_S = 0.5
_LOOK_EVERY_S = 0.25
Row = dict[str, Any]


@dataclass(frozen=True)
class StreamPeer:
    """`n_loans`: more than it can do in the time that is measured, or as many as are enough."""

    name: str
    installed_as: str
    program: str
    message_of: Callable[[str, EncodedBatch], Message]
    processes: int
    n_loans: int
    goal: float  # so many times its loans a second


def _as_arrays(loan_id: str, row: EncodedBatch) -> Message:
    arrays = {name: part[0].tolist() for name, part in row._asdict().items()}
    return Message(loan_id.encode(), json.dumps({"loan_id": loan_id, **arrays}).encode())


def _as_request(loan_id: str, row: EncodedBatch) -> Message:
    return Message(loan_id.encode(), json.dumps(as_inference_request(row)).encode(), [("mlserver-model", b"network")])


STREAM_PEERS = (
    StreamPeer("MLServer Kafka", "mlserver", "mlserver_kafka", _as_request, 1, 10_000, 10.0),
    StreamPeer("Faust", "faust", "faust_stream", _as_arrays, cores(), 60_000, 10.0),
    StreamPeer("Quix Streams", "quixstreams", "quix_stream", _as_arrays, cores(), 60_000, 5.0),
)


async def stream_peers(bootstrap: str, model: bytes, say: Callable[[str], None]) -> list[Row]:
    """A row for each, with `loans_per_s` and `goal`; where it does not run here, a `note` that says why."""
    broker = make_broker(KafkaSettings(bootstrap_servers=bootstrap), service="bench-peers")
    await broker.connect()
    try:
        return [await _measured(peer, broker, bootstrap, model, say) for peer in STREAM_PEERS]
    finally:
        await stop_broker(broker)


def goals_beside(peers: list[Row], ours_per_s: float) -> list[Goal]:
    """How many times a peer's loans a second ours are. Not reached where the peer does not run."""
    return [
        Goal(
            f"stream / {row['what']}", ours_per_s / row["loans_per_s"] if row.get("loans_per_s") else None, row["goal"]
        )
        for row in peers
    ]


def rows_of(peers: list[Row], limit_per_s: float) -> list[Row]:
    """For the table, beside a limit."""
    rows = [{name: value for name, value in row.items() if name != "goal"} for row in peers]
    return [row | {"ratio": row["loans_per_s"] / limit_per_s} if "loans_per_s" in row else row for row in rows]


async def _measured(peer: StreamPeer, broker: Broker, bootstrap: str, model: bytes, say: Callable[[str], None]) -> Row:
    say(peer.name)
    row: Row = {"what": peer.name, "goal": peer.goal}
    source, target = f"bench.{peer.program}.in", f"bench.{peer.program}.out"
    await make_topics(bootstrap, source, target, partitions=cores())
    try:
        async with (
            _running(peer, bootstrap, source, target, model, say) as (child, log),
            _end_of(bootstrap, target) as n_scored,
        ):
            await _until_it_scores(peer, broker, source, n_scored, child)
            return row | {"loans_per_s": await _loans_per_s(peer, broker, source, n_scored)}
    except PeerUnavailable as missing:
        return row | {"note": str(missing)}
    except TimeoutError:
        return row | {"note": f"nothing was scored within {_READY_WITHIN_S:g} s: {end_of(log)}"}


@asynccontextmanager
async def _running(
    peer: StreamPeer, bootstrap: str, source: str, target: str, model: bytes, say: Callable[[str], None]
) -> AsyncIterator[tuple[Child, Any]]:
    port = [str(three_free_ports())] if peer.installed_as == "mlserver" else []
    files = {"model.onnx": model, "mlserver_rest.py": program("mlserver_rest").read_bytes()}
    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(
                peer_process(
                    peer.program, *port, bootstrap, source, target, files=files, installed_as=peer.installed_as, say=say
                )
            )
            for _ in range(peer.processes)
        ]
        yield started[0]


@asynccontextmanager
async def _end_of(bootstrap: str, topic: str) -> AsyncIterator[Callable[[], Any]]:
    """Gives a function that tells how many messages the topic holds."""
    partitions = [TopicPartition(topic, number) for number in range(cores())]

    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:

        async def n_messages() -> int:
            return sum((await consumer.end_offsets(partitions)).values())

        yield n_messages


def _messages(peer: StreamPeer, first: int, n: int) -> list[Message]:
    rows = ((i, encoded().rows(slice(i % ENCODER_ROWS, i % ENCODER_ROWS + 1))) for i in range(first, first + n))
    return [peer.message_of(str(i), row) for i, row in rows]


async def _until_it_scores(
    peer: StreamPeer, broker: Broker, source: str, n_scored: Callable[[], Any], child: Child
) -> None:
    """Raises TimeoutError, or PeerUnavailable where it has ended."""
    async with asyncio.timeout(_READY_WITHIN_S):
        for n in count():
            if not child.is_running:
                raise PeerUnavailable(f"it ended: {end_of(child.command.log)}")
            await publish_messages(broker, source, _messages(peer, n * 10, 10))
            if await n_scored():
                return
            await asyncio.sleep(_PROBE_EVERY_S)


async def _loans_per_s(peer: StreamPeer, broker: Broker, source: str, n_scored: Callable[[], Any]) -> float:
    """From when all loans are there until it has done them, or for as long as is measured."""
    messages = _messages(peer, 100_000, peer.n_loans)
    before = await n_scored()
    await publish_messages(broker, source, messages)
    seen = [(time.perf_counter(), await n_scored())]
    while seen[-1][1] - before < peer.n_loans and seen[-1][0] - seen[0][0] < MEASURED_S:
        await asyncio.sleep(_LOOK_EVERY_S)
        n = await n_scored()
        seen.append((time.perf_counter(), n))
    moved = [seen[0], *(later for earlier, later in pairwise(seen) if later[1] > earlier[1])]
    (first_at, first), (last_at, last) = moved[0], moved[-1]
    return (last - first) / (last_at - first_at) if last > first else 0.0
