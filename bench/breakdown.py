"""Where a streamed loan's time goes: processor time by step of the predictor alone."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from loanloop_common.bundle import unpack
from loanloop_common.postgres import Pool
from loanloop_common.scoring import Scorer, engine
from loanloop_common.settings import KafkaSettings
from loanloop_predictor.domain.deciding import DecidedBy, decide
from loanloop_predictor.domain.decisions import Decision, StoredDecision, first_of_each_event, time_ordered_ids
from loanloop_predictor.domain.incoming import read_streamed
from loanloop_predictor.domain.scored import scored_event
from loanloop_predictor.store.decisions import DecisionStore

from bench.garbage_collection import quiet_collector
from bench.result import Row
from bench.workload import CODEC, ENCODER_ROWS, encoder, make_bundle, make_messages

_REPETITIONS = 5
_ZSTD = 4  # as the product's producer has it


async def steps(pool: Pool) -> list[Row]:
    """Processor time of this process for each step on a batch of 4,096 loans, the median of five."""
    now = datetime.now(UTC)
    values = [(value, now) for _, value in make_messages(ENCODER_ROWS, first=10_000_000)]
    scorer = Scorer(unpack(make_bundle()))
    by = DecidedBy("v1", 1, 0.5, engine())
    clock = _Clock()
    with quiet_collector():
        for _ in range(_REPETITIONS):
            read = clock("decode, validate, hash", read_streamed, CODEC, values)
            features = [one.loan.features for one in read.to_decide]
            batch = clock("encode", encoder().encode_features, features)
            log_odds = clock("forward pass", scorer.log_odds, batch)
            decided = clock("decide", _decided, read.to_decide, log_odds, by)
            unique = clock("order by event", first_of_each_event, decided)
            await _store(pool, unique, clock)
            stored = [StoredDecision(one, now, is_new=True) for one in unique]
            events = clock("loan.scored", lambda some: [scored_event(one) for one in some], stored)
            clock("Kafka batches", _batched, unique, events)
    scorer.close()
    return [{"what": f"predictor: {name}", "cpu_us_per_loan": us} for name, us in clock.medians()]


class _Clock:
    def __init__(self) -> None:
        self._took: dict[str, list[float]] = {}

    def __call__(self, name: str, work: Callable[..., Any], *given: Any) -> Any:
        started = time.process_time()
        result = work(*given)
        self.note(name, time.process_time() - started)
        return result

    def note(self, name: str, took_s: float) -> None:
        self._took.setdefault(name, []).append(took_s)

    def medians(self) -> list[tuple[str, float]]:
        return [(name, sorted(took)[len(took) // 2] / ENCODER_ROWS * 1e6) for name, took in self._took.items()]


def _decided(incoming: Any, log_odds: Any, by: DecidedBy) -> list[Decision]:
    ids = time_ordered_ids(int(time.time() * 1000), os.urandom(10 * len(incoming)))
    probabilities = np.reciprocal(1 + np.exp(-log_odds)).tolist()
    return decide(CODEC, incoming, probabilities, by, decision_ids=ids, latency_ms=1.0, channel="stream")


async def _store(pool: Pool, decisions: list[Decision], clock: _Clock) -> None:
    """What the client side of storing costs; the events are cleared away, so that each repetition stores them."""
    started = time.process_time()
    await DecisionStore(pool).record_streamed(decisions)
    clock.note("store, the client's part", time.process_time() - started)
    ids = [one.event_id for one in decisions]
    await pool.execute("DELETE FROM loan_data.decision_keys WHERE event_id = ANY ($1::uuid[])", ids)


def _batched(decisions: list[Decision], events: list[bytes]) -> None:
    partitioner, partitions = DefaultPartitioner(), list(range(KafkaSettings().partitions))
    builder = DefaultRecordBatchBuilder(2, _ZSTD, 1, -1, -1, -1, 2**24)
    for offset, (one, event) in enumerate(zip(decisions, events, strict=True)):
        key = one.loan_id.encode()
        partitioner(key, partitions, partitions)
        builder.append(offset, None, key, event, [])
    builder.build()
