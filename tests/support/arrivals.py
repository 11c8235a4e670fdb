"""Messages as ingest has read them, and a store of them in memory that keeps to the same promises as the real one."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord
from asyncpg.exceptions import DataError
from loanloop_common.dead_letters import Refusal, Refused, refusal_of
from loanloop_common.errors import EventConflict
from loanloop_common.events import Topic
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_ingest.domain.loan_changes import LoanChange, loan_changes, missing_counts
from loanloop_ingest.domain.messages import Incoming, LoanPart, MessageReader, OutcomePart, Place
from loanloop_ingest.domain.verdicts import KnownEvent, firsts, sort_out
from loanloop_ingest.store.loans import Arrived

from tests.support import records

# Where it lay and what lay there: a topic made anew has other messages at old places.
Message = tuple[Place, bytes]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READER = MessageReader(LoanCodec(load_portfolio("sba")), maturity=timedelta(days=30))


def make_record(
    event: dict[str, Any] | bytes, offset: int, *, partition: int = 0, arrived_at: datetime | None = None,
    headers: records.Headers = (),
) -> ConsumerRecord:  # fmt: skip
    """Bytes lie on loan.received; of events, those with features do."""
    is_loan = isinstance(event, bytes) or "features" in event
    value = event if isinstance(event, bytes) else json.dumps(event).encode()
    topic = Topic.LOAN_RECEIVED if is_loan else Topic.LOAN_OUTCOME
    return records.make_record(
        value, topic=topic.value, partition=partition, offset=offset, arrived_at=arrived_at, headers=headers
    )


def read(record: ConsumerRecord, now: datetime = NOW) -> Incoming:
    reading = READER.read_loan if record.topic == Topic.LOAN_RECEIVED else READER.read_outcome
    return reading(Place(record.topic, record.partition, record.offset), record.value, now=now)


def arrive(events: Iterable[dict[str, Any]], *, first_offset: int = 0) -> list[Arrived]:
    """The events one after another from that offset on, each topic with the same offsets."""
    made = [make_record(event, offset) for offset, event in enumerate(events, start=first_offset)]
    return [Arrived(record, read(record)) for record in made]


@dataclass(frozen=True)
class Arrivals:
    """Of a loan: in which batch it came, in which the outcome that holds, in which its first outcome."""

    loan: int | None = None
    outcome: int | None = None
    first_outcome: int | None = None


@dataclass
class FakeArrivalStore:
    refuses: frozenset[str] = frozenset()
    keys: dict[UUID, KnownEvent] = field(default_factory=dict)
    loans: dict[str, LoanChange] = field(default_factory=dict)
    arrivals: dict[str, Arrivals] = field(default_factory=dict)
    duplicates: set[tuple[Place, UUID]] = field(default_factory=set)
    settled: set[Message] = field(default_factory=set)
    rejected: dict[Message, Refusal] = field(default_factory=dict)
    n_missing: dict[str, int] = field(default_factory=dict)
    n_batches: int = 0

    async def store(self, arrived: Sequence[Arrived]) -> list[Refusal]:
        self.n_batches += 1
        events = [a.read for a in arrived if isinstance(a.read, Incoming)]
        self._refuse_what_the_database_would(events)
        acceptable = [event for event in events if (event.place, event.payload) not in self.rejected]
        claimed = {i: event for i, event in firsts(acceptable).items() if i not in self.keys}
        verdicts = sort_out(acceptable, claimed, self.keys)
        self.keys |= {event.event_id: KnownEvent(event.payload_sha256, event.place) for event in verdicts.fresh}
        self.duplicates |= {(event.place, event.event_id) for event in verdicts.duplicates}
        self.settled |= {(event.place, event.payload) for event in (*verdicts.fresh, *verdicts.duplicates)}
        self._keep_loans(verdicts.fresh)
        refusals = self._refusals(arrived, verdicts.conflicts)
        for refusal in refusals:
            self.rejected.setdefault(message_of(refusal.record), refusal)
        return refusals

    def _refuse_what_the_database_would(self, events: Sequence[Incoming]) -> None:
        if any(event.loan_id in self.refuses for event in events):
            raise DataError("the database takes no such loan")

    def _keep_loans(self, fresh: Sequence[Incoming]) -> None:
        touched = {event.loan_id for event in fresh}
        stored = [event for i in touched & self.loans.keys() for event in _events_of(self.loans[i])]
        for change in loan_changes([*stored, *fresh]):
            self._note_arrivals(change)
            self.loans[change.loan_id] = change
        for counted in missing_counts(READER.fields, fresh):
            self.n_missing[counted.field] = self.n_missing.get(counted.field, 0) + counted.n_missing

    def _note_arrivals(self, change: LoanChange) -> None:
        before, noted = self.loans.get(change.loan_id), self.arrivals.get(change.loan_id, Arrivals())
        is_corrected = change.outcome_event_id != (before and before.outcome_event_id)
        self.arrivals[change.loan_id] = Arrivals(
            loan=noted.loan or (self.n_batches if change.loan else None),
            outcome=self.n_batches if is_corrected else noted.outcome,
            first_outcome=noted.first_outcome or (self.n_batches if change.outcome else None),
        )

    def _refusals(self, arrived: Sequence[Arrived], conflicts: Sequence[Incoming]) -> list[Refusal]:
        by_place = {place_of(a.record): a for a in arrived}
        unfit = [a.read for a in arrived if isinstance(a.read, Refusal)]
        invalid = [refusal for refusal in unfit if message_of(refusal.record) not in self.settled]
        valid = [message_of(a.record) for a in arrived if isinstance(a.read, Incoming)]
        before = [self.rejected[message] for message in valid if message in self.rejected]
        taken = [refusal_of(by_place[e.place].record, EventConflict(str(e.event_id))) for e in conflicts]
        return invalid + before + taken


def place_of(record: ConsumerRecord) -> Place:
    return Place(record.topic, record.partition, record.offset)


def message_of(record: Refused) -> Message:
    return Place(record.topic, record.partition, record.offset), record.value or b""


def _events_of(change: LoanChange) -> list[Incoming]:
    """What is stored of a loan, as events, so that the rule that merges a batch also merges it with a new one."""
    parts: list[tuple[UUID | None, LoanPart | None, OutcomePart | None]] = [
        (change.loan_event_id, change.loan, None),
        (change.outcome_event_id, None, change.outcome),
    ]
    return [
        Incoming(Place("", 0, 0), event_id, b"", b"", change.loan_id, NOW, loan, outcome)
        for event_id, loan, outcome in parts
        if event_id
    ]
