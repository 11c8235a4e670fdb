"""Stream processors that the predictor's stream is compared with, each serving the same ONNX file from topic to topic.

They get the loans as the network's inputs in JSON, encoded beforehand, and store nothing: validating, encoding and
storing is spared them. Each has as many processes as there are cores, but for MLServer, which reads without a group:
it is measured with and without workers that score beside it, and judged by the better. The clock is that of our stream.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from loanloop.runtime.children import Child
from loanloop_common.features import EncodedBatch
from loanloop_common.kafka import Broker, make_broker, publish_messages, stop_broker
from loanloop_common.kafka.broker import admin_client
from loanloop_common.kafka.publishing import Message
from loanloop_common.settings import KafkaSettings

from bench.machine import cores
from bench.peers import PeerUnavailable, program
from bench.peers.running import end_of, peer_process, three_free_ports
from bench.peers.serving import ServingPeer
from bench.progress import Progress, per_s, seen_until
from bench.rest_peers import WORKERS, as_inference_request
from bench.result import Row
from bench.topics import make_topics
from bench.workload import ENCODER_ROWS, encoded

MEASURED_S = 15.0
_READY_WITHIN_S = 60.0
_PROBE_EVERY_S = 0.5
_LOOK_EVERY_S = 0.05
N_PROBES = 20
ENOUGH_SEEN = 2  # what was there before, and the first that is done


@dataclass(frozen=True)
class StreamPeer(ServingPeer):
    """`n_loans`: more than it can do in the time that is measured, or as many as are enough.

    `group`: that its processes join; None where it reads without one.
    """

    message_of: Callable[[str, EncodedBatch], Message]
    processes: int
    group: str | None
    n_loans: int


def _as_arrays(loan_id: str, row: EncodedBatch) -> Message:
    arrays = {name: part[0].tolist() for name, part in row._asdict().items()}
    return Message(loan_id.encode(), json.dumps({"loan_id": loan_id, **arrays}).encode())


def _as_request(loan_id: str, row: EncodedBatch) -> Message:
    return Message(loan_id.encode(), json.dumps(as_inference_request(row)).encode(), [("mlserver-model", b"network")])


def _mlserver(name: str, scored_by: str, workers: int) -> StreamPeer:
    arguments = (str(workers),)
    return StreamPeer(
        name, "mlserver", "mlserver_kafka", scored_by, 10.0, _as_request, 1, None, 10_000, arguments=arguments
    )


_EACH = f"{cores()} processes"
STREAM_PEERS = (
    _mlserver("MLServer Kafka, no workers", "the server's process", 0),
    _mlserver(f"MLServer Kafka, {WORKERS}", f"{WORKERS} beside the server", cores()),
    StreamPeer("Faust", "faust", "faust_stream", _EACH, 10.0, _as_arrays, cores(), "bench", 60_000),
    StreamPeer("Quix Streams", "quixstreams", "quix_stream", _EACH, 5.0, _as_arrays, cores(), "bench-quix", 60_000),
)


async def stream_peers(bootstrap: str, model: bytes, say: Callable[[str], None]) -> list[Row]:
    """A row for each of STREAM_PEERS, with `loans_per_s`; where it does not run here, a `note` that says why."""
    broker = make_broker(KafkaSettings(bootstrap_servers=bootstrap), service="bench-peers")
    await broker.connect()
    try:
        return [await _measured(peer, broker, bootstrap, model, say) for peer in STREAM_PEERS]
    finally:
        await stop_broker(broker)


def rows_of(peers: list[Row], limit_per_s: float) -> list[Row]:
    """For the table, beside a limit."""
    return [row | {"ratio": row["loans_per_s"] / limit_per_s} if "loans_per_s" in row else row for row in peers]


async def _measured(peer: StreamPeer, broker: Broker, bootstrap: str, model: bytes, say: Callable[[str], None]) -> Row:
    say(peer.name)
    row: Row = {"what": peer.name, "scored_by": peer.scored_by}
    topic = ".".join(["bench", peer.program, *peer.arguments])
    source, target = f"{topic}.in", f"{topic}.out"
    await make_topics(bootstrap, source, target, partitions=cores())
    try:
        async with (
            _running(peer, bootstrap, source, target, model, say) as (children, log),
            _end_of(bootstrap, target) as n_scored,
        ):
            n_sent = await _until_it_scores(peer, broker, source, n_scored, children)
            if peer.group:
                await _until_all_score(peer, broker, bootstrap, source, n_scored, n_sent)
            return row | {"loans_per_s": await _loans_per_s(peer, broker, source, n_scored)}
    except (PeerUnavailable, RuntimeError) as missing:
        return row | {"note": str(missing)}
    except TimeoutError:
        return row | {"note": f"nothing was scored within {_READY_WITHIN_S:g} s: {end_of(log)}"}


@asynccontextmanager
async def _running(
    peer: StreamPeer, bootstrap: str, source: str, target: str, model: bytes, say: Callable[[str], None]
) -> AsyncIterator[tuple[list[Child], Path]]:
    port = [str(three_free_ports()), *peer.arguments] if peer.installed_as == "mlserver" else []
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
        yield [child for child, _ in started], started[0][1]


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
    peer: StreamPeer, broker: Broker, source: str, n_scored: Callable[[], Any], children: list[Child]
) -> int:
    """How many loans were sent until then. Raises TimeoutError, or PeerUnavailable where a process has ended."""
    async with asyncio.timeout(_READY_WITHIN_S):
        for n in count():
            for ended in (child for child in children if not child.is_running):
                raise PeerUnavailable(f"it ended: {end_of(ended.command.log)}")
            await publish_messages(broker, source, _messages(peer, n * N_PROBES, N_PROBES))
            if await n_scored():
                return (n + 1) * N_PROBES
            await asyncio.sleep(_PROBE_EVERY_S)
    raise AssertionError


async def _until_all_score(
    peer: StreamPeer, broker: Broker, bootstrap: str, source: str, n_scored: Callable[[], Any], n_sent: int
) -> None:
    """All processes are in its group, with partitions of their own, and the loans that were sent are scored.

    Raises TimeoutError, or RuntimeError where they don't join.
    """
    async with admin_client(KafkaSettings(bootstrap_servers=bootstrap)) as admin:
        await Progress(admin).joined(str(peer.group), peer.processes)
    await publish_messages(broker, source, _messages(peer, n_sent, N_PROBES))
    async with asyncio.timeout(_READY_WITHIN_S):
        while await n_scored() < n_sent + N_PROBES:  # noqa: ASYNC110 - processes of their own score them
            await asyncio.sleep(_LOOK_EVERY_S)


async def _loans_per_s(peer: StreamPeer, broker: Broker, source: str, n_scored: Callable[[], Any]) -> float:
    """Timed as our stream is: all loans are there, and the clock starts with the first that are seen done."""
    messages = _messages(peer, 100_000, peer.n_loans)
    n_last = await n_scored() + peer.n_loans
    await publish_messages(broker, source, messages)
    seen = await seen_until(n_last, n_scored, "loans are scored", look_every_s=_LOOK_EVERY_S, at_most_s=MEASURED_S)
    return per_s(seen) if len(seen) > ENOUGH_SEEN else 0.0
