"""From `loan.received` to `loan.scored` at 500 loans a second: sent one by one, each stored before it is published.

Beside it, in the same seconds and from the same process, the broker's own round trip: messages of the same size that
nobody works on, from sending to receiving.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from loanloop_common.events import Topic

from bench.garbage_collection import quiet_collector
from bench.installation import fresh_installation
from bench.machine import cores
from bench.predictor import start_predictor
from bench.registry import Options
from bench.result import Found, Goal
from bench.topics import make_topics
from bench.workload import Message, make_messages

TITLE = "from loan.received to loan.scored at 500 loans a second"
LOANS_PER_S = 500
ECHOES_PER_S = 50
WARM_UP_S = 10.0
ECHO = "bench.echo"
_TICK_S = 0.0005
_LAST_WITHIN_S = 10.0


class Arrivals:
    """When each message was sent and when its answer was there, by its key."""

    def __init__(self) -> None:
        self.sent_at: dict[bytes, float] = {}
        self.latency_ms: dict[bytes, float] = {}

    def arrive(self, key: bytes, now: float) -> None:
        if key in self.sent_at:
            self.latency_ms[key] = (now - self.sent_at[key]) * 1000

    async def all_there(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WITHIN_S):
                while len(self.latency_ms) < len(self.sent_at):  # noqa: ASYNC110 - the time is what it waits for
                    await asyncio.sleep(0.05)

    def after(self, moment: float) -> list[float]:
        return [ms for key, ms in self.latency_ms.items() if self.sent_at[key] >= moment]


async def send_paced(
    producer: AIOKafkaProducer, topic: str, messages: list[Message], per_s: float, arrivals: Arrivals
) -> float:
    """One by one, each when it is due. Returns how late the sender itself was at worst, in ms."""
    started, worst_s = time.perf_counter(), 0.0
    for n, (key, value) in enumerate(messages):
        while (early_s := started + n / per_s - time.perf_counter()) > 0:  # noqa: ASYNC110 - the same
            await asyncio.sleep(min(early_s, _TICK_S))
        worst_s = max(worst_s, -early_s)
        arrivals.sent_at[key] = time.perf_counter()
        await producer.send(topic, value, key=key)
    return worst_s * 1000


async def receive(consumer: AIOKafkaConsumer, scored: Arrivals, echoes: Arrivals) -> None:
    while True:
        received = await consumer.getmany(timeout_ms=1000)
        now = time.perf_counter()
        for partition, records in received.items():
            arrivals = echoes if partition.topic == ECHO else scored
            for record in records:
                arrivals.arrive(record.key, now)


@asynccontextmanager
async def client(bootstrap: str) -> AsyncIterator[tuple[AIOKafkaProducer, AIOKafkaConsumer]]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    consumer = AIOKafkaConsumer(Topic.LOAN_SCORED.value, ECHO, bootstrap_servers=bootstrap, auto_offset_reset="latest")
    await make_topics(bootstrap, ECHO, partitions=1)
    async with producer, consumer:
        yield producer, consumer


async def exchanged(bootstrap: str, seconds: float, options: Options) -> tuple[Arrivals, Arrivals, float]:
    """Loans and echoes of these seconds after the warm-up, and by how many ms the sender was late at worst."""
    total_s = WARM_UP_S + seconds
    loans = make_messages(int(LOANS_PER_S * total_s))
    some = [(uuid4().bytes, value) for _, value in loans[: int(ECHOES_PER_S * total_s)]]
    options.say(f"{len(loans):,} loans in {total_s:.0f} s")
    # The messages are none of what is measured: the collector must not walk them.
    with quiet_collector():
        return await _sent_and_received(bootstrap, loans, some)


async def _sent_and_received(
    bootstrap: str, loans: list[Message], some: list[Message]
) -> tuple[Arrivals, Arrivals, float]:
    scored, echoes = Arrivals(), Arrivals()
    async with client(bootstrap) as (producer, consumer):
        receiving = asyncio.create_task(receive(consumer, scored, echoes))
        late_ms, _ = await asyncio.gather(
            send_paced(producer, Topic.LOAN_RECEIVED.value, loans, LOANS_PER_S, scored),
            send_paced(producer, ECHO, some, ECHOES_PER_S, echoes),
        )
        await scored.all_there()
        await echoes.all_there()
        receiving.cancel()
    return scored, echoes, late_ms


def row_of(what: str, latency_ms: list[float]) -> dict[str, Any]:
    p50, p90, p99 = np.percentile(latency_ms, [50, 90, 99]).tolist()
    return {"what": what, "n": len(latency_ms), "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "max_ms": max(latency_ms)}


async def measure(seconds: float, options: Options) -> tuple[list[dict[str, Any]], int]:
    async with fresh_installation() as installation:
        await start_predictor(installation)
        scored, echoes, late_ms = await exchanged(installation.infrastructure.kafka_bootstrap, seconds, options)
    counted_from = min(scored.sent_at.values()) + WARM_UP_S
    rows = [
        row_of("loan.received to loan.scored", scored.after(counted_from)) | {"sender_late_ms": late_ms},
        row_of("the broker's round trip", echoes.after(counted_from)),
    ]
    return rows, len(scored.sent_at) - len(scored.latency_ms)


def run(options: Options) -> Found:
    seconds = 300.0 if options.long else 40.0
    rows, n_missing = asyncio.run(measure(seconds, options))
    return Found(
        goals=(Goal("p99 in ms", rows[0]["p99_ms"], 50.0, "<="), Goal("loans without an answer", n_missing, 0, "<=")),
        rows=rows,
        sizes={
            "loans_per_s": LOANS_PER_S,
            "echoes_per_s": ECHOES_PER_S,
            "seconds": seconds,
            "warm_up_s": WARM_UP_S,
            "threads": cores(),
            "preset": "sba",
        },
        bars=("what", "p50_ms"),
        notes=("sender_late_ms: how far behind its timetable the sender fell at worst; latency counts from sending.",),
    )
