"""What a batch of new events changes: one row a loan, and the counts of missing values."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from loanloop_ingest.domain.messages import Incoming, LoanPart, OutcomePart


class LoanChange(Struct, frozen=True, gc=False):
    """What the events of one loan say together: its first application, its newest correction."""

    loan_id: str
    loan_event_id: UUID | None
    loan: LoanPart | None
    outcome_event_id: UUID | None
    outcome: OutcomePart | None


class MissingCount(NamedTuple):
    field: str
    n_loans: int
    n_missing: int


def loan_changes(fresh: Iterable[Incoming]) -> list[LoanChange]:
    """One change for each loan, by loan_id: two writers that lock rows in this order cannot deadlock."""
    changes: dict[str, LoanChange] = {}
    for event in fresh:
        loan_event_id = event.event_id if event.loan else None
        outcome_event_id = event.event_id if event.outcome else None
        arrived = LoanChange(event.loan_id, loan_event_id, event.loan, outcome_event_id, event.outcome)
        before = changes.get(event.loan_id)
        changes[event.loan_id] = arrived if before is None else _combined(before, arrived)
    return sorted(changes.values(), key=_loan_id)


def missing_counts(fields: Sequence[str], fresh: Iterable[Incoming]) -> list[MissingCount]:
    """How many of the loans lack each field; empty without a loan."""
    rows = [event.loan.values for event in fresh if event.loan]
    columns = zip(*rows, strict=True)
    return [
        MissingCount(field, len(rows), column.count(None)) for field, column in zip(fields, columns, strict=bool(rows))
    ]


def _loan_id(change: LoanChange) -> str:
    return change.loan_id


def _combined(before: LoanChange, arrived: LoanChange) -> LoanChange:
    loan = before if before.loan else arrived
    outcome = arrived if _is_newer(arrived, before) else before
    return LoanChange(before.loan_id, loan.loan_event_id, loan.loan, outcome.outcome_event_id, outcome.outcome)


def _is_newer(arrived: LoanChange, before: LoanChange) -> bool:
    """The newest correction holds, whatever the order of arrival: the one said later; of those of one moment, as all
    that come within loans of history, the one known later; then the greater id.
    """
    if arrived.outcome is None or arrived.outcome_event_id is None:
        return False
    if before.outcome is None or before.outcome_event_id is None:
        return True
    return _rank(arrived.outcome, arrived.outcome_event_id) > _rank(before.outcome, before.outcome_event_id)


def _rank(outcome: OutcomePart, event_id: UUID) -> tuple[datetime, datetime, UUID]:
    return outcome.occurred_at, outcome.known_at, event_id
