"""How far a consumer is behind the end of its partitions. Asked of the broker, not read off the last fetch: a consumer
that is paused, or tries a batch again and again, fetches nothing.
"""

import asyncio
from collections.abc import Collection
from typing import Any

import structlog
from aiokafka import TopicPartition

from loanloop_common.telemetry import replace_series

log = structlog.get_logger()

REPORT_EVERY_S = 10.0
_FIRST_LOOKS_EVERY_S = 0.5
_ASK_WITHIN_S = 10.0

Lags = dict[tuple[str, ...], float]
Done = dict[TopicPartition, int]

_of_consumer: dict[str, Lags] = {}


async def report_lag(consumer: Any, done: Done, *, name: str, group: str) -> None:
    """Until it is cancelled. `done`: the offset behind the last record that is done, where it is known."""
    try:
        while True:
            await _report(consumer, done, name, group)
            await asyncio.sleep(REPORT_EVERY_S if consumer.assignment() else _FIRST_LOOKS_EVERY_S)
    finally:
        _replace(name, {})


async def _report(consumer: Any, done: Done, name: str, group: str) -> None:
    try:
        async with asyncio.timeout(_ASK_WITHIN_S):
            _replace(name, await _lags(consumer, done, group))
    except (Exception, asyncio.CancelledError) as error:  # a figure that is missing must not end a service
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        log.debug("lag_unknown", consumer=name, error=repr(error))
        _replace(name, {})


async def _lags(consumer: Any, done: Done, group: str) -> Lags:
    partitions = consumer.assignment()
    if not partitions:
        return {}
    ends = await consumer.end_offsets(partitions)
    from_start = await _find_committed(consumer, done, partitions)
    starts = await consumer.beginning_offsets(from_start) if from_start else {}
    return {
        (where.topic, str(where.partition), group): float(max(end - done.get(where, starts.get(where, end)), 0))
        for where, end in ends.items()
    }


async def _find_committed(consumer: Any, done: Done, partitions: Collection[TopicPartition]) -> list[TopicPartition]:
    """Returns those of which the group has committed none."""
    unread = []
    for partition in partitions:
        if partition in done:
            continue
        committed = await consumer.committed(partition)
        if committed is None:
            unread.append(partition)
        else:
            done.setdefault(partition, committed)
    return unread


def _replace(name: str, lags: Lags) -> None:
    _of_consumer[name] = lags
    replace_series("loanloop_consumer_lag_records", {k: v for some in _of_consumer.values() for k, v in some.items()})
