"""What the predictor does with a batch of records."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import structlog
from aiokafka import ConsumerRecord
from loanloop_common.background import in_background
from loanloop_common.dead_letters import Refusal, publish_refusals
from loanloop_common.errors import InvalidMessage
from loanloop_common.event_codec import decode_event
from loanloop_common.events import ModelDeployed, Topic
from loanloop_common.kafka import BatchConsumer, Broker, Finish, Message, arrived_at, publish_messages
from loanloop_common.sampled_lines import FollowedLines, about_of
from loanloop_common.telemetry import count, timed
from loanloop_common.trace_context import headers_with, traceparents_of

from loanloop_predictor.domain.decisions import NoProbability, StoredDecision, Undecided
from loanloop_predictor.domain.deployments import is_newer
from loanloop_predictor.domain.following import facts_of, followed
from loanloop_predictor.domain.scored import scored_event
from loanloop_predictor.serving.champions import Champions
from loanloop_predictor.serving.counted import count_decisions
from loanloop_predictor.serving.decider import Decider, ScoredLoans, StreamedDecisions
from loanloop_predictor.store.refusals import RefusalStore

log = structlog.get_logger()


class LoanHandler:
    """Decides what `loan.received` brings. A batch is stored and published while the next one is scored."""

    def __init__(self, decider: Decider, broker: Broker, refusals: RefusalStore, lines: FollowedLines) -> None:
        self._decider = decider
        self._broker = broker
        self._refusals = refusals
        self._lines = lines

    async def decide_loans(self, records: Sequence[ConsumerRecord]) -> Finish:
        """What is left to be done, behind which the offsets are committed."""
        now = datetime.now(UTC)
        messages = [(record.value, arrived_at(record, now)) for record in records]
        scored = await self._decider.score_streamed(messages, partial(traceparents_of, records))
        return partial(self._record, scored, records)

    async def _record(self, scored: ScoredLoans, records: Sequence[ConsumerRecord]) -> None:
        batch = await self._decider.record_streamed(scored)
        with timed("loanloop_batch_step_duration_seconds", step="stream_publish"):
            await publish_messages(self._broker, Topic.LOAN_SCORED, _messages(batch.to_publish, scored.traceparents))
        if scored.traceparents:
            self._lines.tell("loan_decided", followed(batch.to_publish, scored.traceparents), facts_of)
        if batch.undecided:
            await self._refuse([_refusal(records[one.place], one) for one in batch.undecided])
        _count(batch)

    async def _refuse(self, refusals: Sequence[Refusal]) -> None:
        await self._refusals.record(refusals)
        await publish_refusals(self._broker, refusals)
        for refusal in refusals:  # behind what is tried again, so that each is said once
            log.error("loan_not_decided", message=refusal.message, **about_of(refusal.record))


def _messages(stored: Sequence[StoredDecision], traceparents: Mapping[UUID, str]) -> list[Message]:
    """Each loan.scored goes on with the trace of its loan.received."""
    if not traceparents:
        return [Message(one.decision.loan_id.encode(), scored_event(one)) for one in stored]
    return [
        Message(one.decision.loan_id.encode(), scored_event(one), headers_with(traceparents.get(one.decision.event_id)))
        for one in stored
    ]


def _refusal(record: ConsumerRecord, undecided: Undecided) -> Refusal:
    return Refusal(record, "no_probability", str(NoProbability(undecided.version)))


class DeploymentHandler:
    """Takes `model.deployed` as a hint; the database says what is live."""

    def __init__(self, champions: Champions) -> None:
        self._champions = champions

    async def apply_deployments(self, records: Sequence[ConsumerRecord]) -> None:
        announced = [event.deployment_seq for record in records if (event := self._event_of(record))]
        if announced and is_newer(max(announced), self._champions.applied_seq):
            await self._champions.reconcile()

    def _event_of(self, record: ConsumerRecord) -> ModelDeployed | None:
        try:
            event = decode_event(ModelDeployed, record.value)
        except InvalidMessage as invalid:
            log.warning("deployment_event_ignored", offset=record.offset, error=str(invalid))
            return None
        return event if event.slot == self._champions.slot else None


def _count(batch: StreamedDecisions) -> None:
    count_decisions(batch.new)
    for reason, n_skipped in (
        ("history", batch.n_history),
        ("invalid", batch.n_invalid),
        ("conflict", batch.n_conflicts),
        ("not_kept", batch.n_not_kept),
        ("no_probability", len(batch.undecided)),
        ("refused_by_database", batch.n_refused),
    ):
        count("loanloop_loans_skipped_total", n_skipped, reason=reason)
    log.debug("loans_decided", n_new=len(batch.new), n_published=len(batch.to_publish), n_invalid=batch.n_invalid)


class LoanStream:
    """The consumer of loans: in its group from the start, taking nothing until there is a model to decide with."""

    def __init__(self, consumer: BatchConsumer, available: asyncio.Event) -> None:
        self.name = consumer.name
        self._consumer = consumer
        self._available = available
        self._waiting: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        return self._consumer.state

    async def start(self) -> None:
        self._waiting = in_background(self._consumer.pause_until(self._available), name="model_wait")
        await self._consumer.start()

    async def stop(self) -> None:
        await self._consumer.stop()
        if self._waiting:
            self._waiting.cancel()
