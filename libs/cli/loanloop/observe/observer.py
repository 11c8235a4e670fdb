"""Gathers a Snapshot from the database and from Kafka."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from aiokafka import TopicPartition
from loanloop_common.errors import Unavailable
from loanloop_common.events import Topic
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import UNREACHABLE, Connection, Pool

from loanloop.observe import queries
from loanloop.observe.lag import KafkaView, topic_totals
from loanloop.observe.snapshot import Lag, Rule, Snapshot, Where


def rule_of(portfolio: Portfolio) -> Rule:
    policy = portfolio.policy
    return Rule(
        portfolio=portfolio.name,
        metric=policy.metric,
        threshold=policy.breach_below,
        gate_at_least=policy.gate_at_least,
        window_days=policy.window_days,
        first_labels=policy.first_labels,
        maturity_days=policy.maturity_days,
        warnings=portfolio.warnings,
    )


def _received(messages: Mapping[str, int]) -> int:
    return messages.get(Topic.LOAN_RECEIVED.value, 0)


async def with_received_since(seen: Snapshot, kafka: KafkaView) -> Snapshot:
    """Kafka was asked before the database: what came in between is stored, and must not look restored."""
    with suppress(Unavailable):
        received = _received(topic_totals(await kafka.end_offsets()))
        return replace(seen, loans=replace(seen.loans, received=received))
    return seen


class Observer:
    """Raises Unavailable, in words for the user, while the database does not answer. Kafka may be away."""

    def __init__(self, pool: Pool, kafka: KafkaView, portfolio: Portfolio, where: Where) -> None:
        self._pool = pool
        self._kafka = kafka
        self._rule = rule_of(portfolio)
        self._min_outcomes = portfolio.policy.min_outcomes
        self._where = where

    async def snapshot(self) -> Snapshot:
        ends, lags, problem = await self._ask_kafka()
        messages = dict(topic_totals(ends))
        try:
            async with (
                self._pool.acquire(timeout=5) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                seen = await self._read(connection, messages, lags, problem)
        except UNREACHABLE as cause:
            raise Unavailable(f"PostgreSQL at {self._where.postgres} does not answer: {cause or 'timeout'}") from cause
        return await with_received_since(seen, self._kafka) if seen.loans.is_beyond_received else seen

    async def _ask_kafka(self) -> tuple[dict[TopicPartition, int], tuple[Lag, ...], str | None]:
        try:
            ends = await self._kafka.end_offsets()
            return ends, await self._kafka.lags(ends), None
        except Unavailable as away:
            return {}, (), str(away)

    async def _read(
        self, connection: Connection, messages: dict[str, int], lags: tuple[Lag, ...], problem: str | None
    ) -> Snapshot:
        received = None if problem else _received(messages)
        clocks = await queries.fetch_clocks(connection, self._min_outcomes)
        return Snapshot(
            taken_at=datetime.now(UTC),
            rule=self._rule,
            where=self._where,
            loans=await queries.fetch_loan_counts(connection, received=received, as_of=clocks["as_of"]),
            instances=await queries.fetch_instances(connection),
            lags=lags,
            messages=messages,
            versions=await queries.fetch_versions(connection),
            deployments=await queries.fetch_deployments(connection),
            training=await queries.fetch_training(connection),
            days=await queries.fetch_days(connection),
            breaches=await queries.fetch_breaches(connection),
            alerts=await queries.fetch_alerts(connection),
            decisions=await queries.fetch_newest_decisions(connection),
            rejected_by_reason=await queries.fetch_rejected_by_reason(connection),
            kafka_problem=problem,
            **clocks,
        )
