"""The demo's story, told by the running loop: nothing here trains, judges, deploys or decides anything."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from loanloop_common.errors import Unavailable
from loanloop_common.events import Topic
from loanloop_common.kafka import Broker, publish_batch
from loanloop_common.portfolio import Portfolio
from loanloop_ingest.domain.file_events import RefusedRow, RowReader
from loanloop_ingest.loan_files import open_loan_file

from loanloop.demo.checks import Sent, live_is_served, story_is_over
from loanloop.demo.chronicle import Chronicle
from loanloop.demo.pace import challenger_is_under_way, days_unjudged, giving_up_is_due, pace_of
from loanloop.demo.plan import DemoImpossible, Plan
from loanloop.demo.replay import Replay
from loanloop.demo.rest import RestClient
from loanloop.demo.stage import Scene, Stage
from loanloop.observe.observer import Observer
from loanloop.observe.snapshot import Snapshot
from loanloop.produce.selection import Outcomes, Selection
from loanloop.produce.sender import Acknowledged, Sender
from loanloop.produce.sequence import EventSequence

LOOK_EVERY_S = 0.7
# Counting costs a tenth of a core, which the training needs more.
LOOK_WHILE_TRAINING_EVERY_S = 2.0
FIRST_MODEL_WITHIN_S = 900.0
SETTLED_WITHIN_S = 600.0


@dataclass
class Director:
    """`play` runs the story on an installation whose Kafka, PostgreSQL and services are there.

    `loan_ids`: of the loans sent, by stream or by REST; those that anybody else sends meanwhile are none of its story.
    """

    plan: Plan
    portfolio: Portfolio
    file: Path
    stage: Stage
    observer: Observer
    broker: Broker
    rest: RestClient
    start_trainer: Callable[[], Awaitable[object]]
    chronicle: Chronicle = field(default_factory=Chronicle)
    snapshot: Snapshot | None = None
    refused: list[RefusedRow] = field(default_factory=list)
    loan_ids: set[str] = field(default_factory=set)
    _replay: Replay | None = None
    _history: int = 0
    _told_longer: bool = False

    async def play(self) -> Sent:
        await self.backfill()
        await self.start_trainer()
        await self._until(live_is_served, "the first model", within_s=FIRST_MODEL_WITHIN_S)
        await self._replay_the_rest()
        await self._until(self._is_settled, "the last outcomes and verdicts", within_s=SETTLED_WITHIN_S)
        return self.sent()

    def sent(self) -> Sent:
        replayed = self._replay.replayed if self._replay else None
        return Sent(
            history=self._history,
            streamed=replayed.streamed if replayed else 0,
            asked=replayed.asked if replayed else 0,
            outcomes=replayed.outcomes if replayed else 0,
        )

    async def backfill(self) -> None:
        """The loans with their outcomes; sent twice they are there once. Returns when all are stored."""
        plan = self.plan
        self.stage.tell(
            f"backfill: loans approved {plan.history_from:%Y} to {plan.stream_from.year - 1}, each with its outcome"
        )
        events = self._events(
            Selection(now=datetime.now(UTC), history=True, since=plan.history_from, until=plan.stream_from)
        )
        produced = Acknowledged()
        await Sender(self._publish).send(iter(events), produced, asyncio.Event())
        self._history = produced.loans
        if produced.loans == 0:
            raise DemoImpossible(f"{self.file} has no loans of {plan.history_from:%Y-%m} to {plan.stream_from:%Y-%m}")
        await self._until(lambda s: s.loans.labelled >= produced.loans, "the history to be stored", within_s=120)
        self.stage.tell(f"ingest: {produced.loans:,} loans of history stored, each with its outcome")

    async def _replay_the_rest(self) -> None:
        plan = self.plan
        self.stage.tell(
            f"replay: loans approved from {plan.stream_from:%Y-%m} to {plan.last_month:%Y-%m} stream in, day by day; "
            f"some are asked for by REST. Each outcome follows {self.portfolio.file.outcome_delay_days} days of event "
            "time later, paid or not; real outcomes take years"
        )
        selection = Selection(
            now=datetime.now(UTC), outcomes=Outcomes.DUE, since=plan.stream_from, until=plan.at_most_until
        )
        replay = self._replay = Replay(iter(self._events(selection)), self._publish, self._ask, clock=plan.stream_from)
        async with self._looking(replay):
            await replay.run()
            await self.rest.finish()
        self.stage.tell(f"replay: all sent, {replay.replayed.loans:,} loans and {replay.replayed.outcomes:,} outcomes")

    @contextlib.asynccontextmanager
    async def _looking(self, replay: Replay) -> AsyncIterator[None]:
        async def look_again_and_again() -> None:
            told = ""
            while True:
                snapshot = await self._look("replay")
                if snapshot is not None:
                    self._end_when_told(replay, snapshot)
                    replay.pace = pace_of(snapshot, overtime=replay.clock >= self.plan.until)
                    if replay.pace.why != told and challenger_is_under_way(snapshot):
                        self.stage.tell(f"replay: {replay.pace.why}")
                    told = replay.pace.why
                await self._pause()

        looking = asyncio.create_task(look_again_and_again())
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking

    def _end_when_told(self, replay: Replay, snapshot: Snapshot) -> None:
        if not replay.accepting or replay.clock < self.plan.until:
            return
        if story_is_over(self.plan, snapshot):
            replay.accepting = False
            self.stage.tell(f"replay: ends with the loans of {replay.clock:%Y-%m-%d}; their outcomes still follow")
        elif not self._told_longer:
            self._told_longer = True
            self.stage.tell(
                f"replay: goes on after {self.plan.last_month:%Y-%m}, until the version after the breach is judged"
            )

    async def _until(self, condition: Callable[[Snapshot], bool], what: str, *, within_s: float) -> None:
        """Raises DemoImpossible when it takes too long: a hung demo would say nothing."""
        deadline = asyncio.get_running_loop().time() + within_s
        while asyncio.get_running_loop().time() < deadline:
            snapshot = await self._look(f"waiting for {what}")
            if snapshot is not None:
                if condition(snapshot):
                    return
                self._give_up_on_failure(snapshot)
            await self._pause()
        raise DemoImpossible(f"waited {within_s:.0f} s for {what} in vain; `loanloop status` and the logs say more")

    async def _pause(self) -> None:
        training = self.snapshot.training if self.snapshot else None
        await asyncio.sleep(LOOK_WHILE_TRAINING_EVERY_S if training and training.is_open else LOOK_EVERY_S)

    def _give_up_on_failure(self, snapshot: Snapshot) -> None:
        if snapshot.live is None and snapshot.versions and all(v.gate for v in snapshot.versions):
            gate = snapshot.versions[-1].gate
            if gate is not None and not gate.passed:
                raise DemoImpossible(f"the first model did not pass its gate ({gate.reason}): nothing can be served")

    async def _look(self, doing: str) -> Snapshot | None:
        try:
            self.snapshot = await self.observer.snapshot()
        except Unavailable as away:
            self.stage.tell(str(away))
            return None
        for line in self.chronicle.news(self.snapshot):
            self.stage.tell(line)
        replay = self._replay
        self.stage.show(
            Scene(
                doing=doing,
                snapshot=self.snapshot,
                event_time=replay.clock if replay else None,
                why=replay.pace.why if replay else "",
                rest_sent=self.rest.figures.sent,
                rest_failed=self.rest.figures.failed,
            )
        )
        return self.snapshot

    def _is_settled(self, snapshot: Snapshot) -> bool:
        """Everything consumed, every loan decided and joined to its outcome, no challenger, swap or alert under way."""
        sent, loans = self.sent(), snapshot.loans
        consumed = all(lag.waiting == 0 for lag in snapshot.lags)
        decided = loans.decided >= loans.n_loans - loans.history
        joined = loans.labelled >= sent.history + sent.outcomes
        judged = days_unjudged(snapshot) == 0
        awaited = challenger_is_under_way(snapshot) or giving_up_is_due(snapshot, self.portfolio.policy.breach_attempts)
        return consumed and decided and joined and judged and not awaited and live_is_served(snapshot)

    def _events(self, selection: Selection) -> EventSequence:
        file, reader = open_loan_file(self.file), RowReader(self.portfolio)
        reader.check_columns(file.columns)
        return EventSequence(file=file, reader=reader, selection=selection, refuse=self.refused.append)

    async def _publish(self, topic: Topic, messages: Sequence[tuple[bytes | None, bytes]]) -> None:
        self.loan_ids.update(key.decode() for key, _ in messages if key and topic is Topic.LOAN_RECEIVED)
        await publish_batch(self.broker, topic, messages)

    async def _ask(self, loan: bytes) -> None:
        self.loan_ids.add(msgspec.json.decode(loan)["loan_id"])
        await self.rest.ask(loan)
