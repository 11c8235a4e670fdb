"""Loans and outcomes as ingest's own store leaves them, with features that no portfolio names."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
from loanloop_common.events import Topic
from loanloop_common.postgres import Pool
from loanloop_ingest.domain.messages import Incoming, LoanPart, OutcomePart, Place
from loanloop_ingest.store.loans import Arrived, LoanStore

from tests.support.records import make_record

MATURITY = timedelta(days=30)
_FIRST_SAID_AT = datetime(2005, 1, 1, tzinfo=UTC)


class IngestedLoans:
    """Each outcome is said later than all before it, so that a second one for a loan corrects the first."""

    def __init__(self, pool: Pool) -> None:
        self._store = LoanStore(pool, fields=())
        self._n_said = 0

    async def receive(self, loans: Iterable[tuple[str, datetime, dict[str, float]]], *, is_history: bool) -> None:
        """By loan_id, date and features."""
        parts = [
            (loan_id, LoanPart(occurred_at, occurred_at + MATURITY, is_history, json.dumps(features).encode(), ()))
            for loan_id, occurred_at, features in loans
        ]
        await self._store.store([self._said(Topic.LOAN_RECEIVED, loan_id, loan=part) for loan_id, part in parts])

    async def label(self, outcomes: Iterable[tuple[str, bool, datetime]]) -> None:
        """By loan_id, whether it defaulted, and when that became known."""
        arrived = []
        for loan_id, defaulted, known_at in outcomes:
            said_at = _FIRST_SAID_AT + timedelta(seconds=self._n_said)
            part = OutcomePart(said_at, defaulted, known_at)
            arrived.append(self._said(Topic.LOAN_OUTCOME, loan_id, outcome=part))
        await self._store.store(arrived)

    def _said(
        self, topic: Topic, loan_id: str, *, loan: LoanPart | None = None, outcome: OutcomePart | None = None
    ) -> Arrived:
        payload = msgspec.json.encode({"loan_id": loan_id, "known_at": outcome and outcome.known_at})
        place, event_id = Place(topic, 0, self._n_said), uuid4()
        self._n_said += 1
        event = Incoming(place, event_id, event_id.bytes * 2, payload, loan_id, _FIRST_SAID_AT, loan, outcome)
        return Arrived(make_record(payload, topic=topic, offset=place.offset), event)
