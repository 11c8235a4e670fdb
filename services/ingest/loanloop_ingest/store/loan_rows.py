"""The rows of loans: new ones are copied in, those that are there get what has come."""

from collections.abc import Sequence
from functools import partial
from struct import Struct
from uuid import UUID

from loanloop_common.postgres import Connection

from loanloop_ingest.domain.loan_changes import LoanChange, MissingCount
from loanloop_ingest.domain.messages import LoanPart, OutcomePart
from loanloop_ingest.store.copy_rows import NULL, copy_rows, microseconds

SELECT_STORED = """
    SELECT now(), array_agg(loan_id) FROM loan_data.processed_data WHERE loan_id = ANY ($1::text[])
"""

CREATE_ARRIVED_LOANS = """
    CREATE TEMPORARY TABLE IF NOT EXISTS arrived_loans (
        loan_id text,
        event_id uuid, occurred_at timestamptz, is_history boolean, matured_at timestamptz, received_at timestamptz,
        features json,
        outcome_event_id uuid, outcome_occurred_at timestamptz, defaulted boolean, known_at timestamptz,
        outcome_received_at timestamptz, outcome_first_received_at timestamptz
    ) ON COMMIT DELETE ROWS
"""

# That there is a row was seen; INSERT all the same, for its way to the row is the key, whatever the planner knows of
# the tables, and the locks are taken in order. The newest correction holds.
CHANGE_LOANS = """
    INSERT INTO loan_data.processed_data AS stored (
        loan_id, event_id, occurred_at, is_history, matured_at, received_at, features,
        outcome_event_id, outcome_occurred_at, defaulted, known_at, outcome_received_at, outcome_first_received_at
    )
    SELECT *
    FROM arrived_loans
    ORDER BY loan_id COLLATE "C"
    ON CONFLICT (loan_id) DO UPDATE SET
        event_id = coalesce(stored.event_id, excluded.event_id),
        occurred_at = coalesce(stored.occurred_at, excluded.occurred_at),
        features = coalesce(stored.features, excluded.features),
        is_history = coalesce(stored.is_history, excluded.is_history),
        matured_at = coalesce(stored.matured_at, excluded.matured_at),
        received_at = coalesce(stored.received_at, excluded.received_at),
        outcome_first_received_at = coalesce(stored.outcome_first_received_at, excluded.outcome_first_received_at),
        outcome_event_id = CASE WHEN {newer} THEN excluded.outcome_event_id ELSE stored.outcome_event_id END,
        outcome_occurred_at = CASE WHEN {newer} THEN excluded.outcome_occurred_at ELSE stored.outcome_occurred_at END,
        defaulted = CASE WHEN {newer} THEN excluded.defaulted ELSE stored.defaulted END,
        known_at = CASE WHEN {newer} THEN excluded.known_at ELSE stored.known_at END,
        outcome_received_at = CASE WHEN {newer} THEN excluded.outcome_received_at ELSE stored.outcome_received_at END
    WHERE stored.event_id IS NULL OR excluded.outcome_event_id IS NOT NULL
""".replace(
    "{newer}",
    """stored.outcome_event_id IS NULL OR (excluded.outcome_occurred_at, excluded.outcome_event_id)
                   > (stored.outcome_occurred_at, stored.outcome_event_id)""",
)

COUNT_MISSING = """
    INSERT INTO loan_data.data_quality AS counted (day, field, n_loans, n_missing)
    SELECT (now() AT TIME ZONE 'UTC')::date, field, n_loans, n_missing
    FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS arrived (field, n_loans, n_missing)
    ORDER BY field COLLATE "C"
    ON CONFLICT (day, field) DO UPDATE SET
        n_loans = counted.n_loans + excluded.n_loans,
        n_missing = counted.n_missing + excluded.n_missing
"""

_LOAN = ("event_id", "occurred_at", "is_history", "matured_at", "received_at", "features")
_OUTCOME = (
    "outcome_event_id", "outcome_occurred_at", "defaulted", "known_at",
    "outcome_received_at", "outcome_first_received_at",
)  # fmt: skip
_COLUMNS = ("loan_id", *_LOAN, *_OUTCOME)
# Cells of fixed size, each behind its size, up to the size of the next one.
_LOAN_ID = Struct(">hi")
_LOAN_CELLS = Struct(">i16siqi?iqiqi")
_OUTCOME_CELLS = Struct(">i16siqi?iqiqiq")
_NO_LOAN, _NO_OUTCOME = NULL * len(_LOAN), NULL * len(_OUTCOME)


async def store_loans(connection: Connection, changes: Sequence[LoanChange]) -> None:
    """In the order given. Raises UniqueViolationError where another replica has stored one of the loans meanwhile.

    New rows come before changes: who waits for another's new row then holds no row that the other might wait for.
    """
    ((now, found),) = await connection.fetch(SELECT_STORED, [change.loan_id for change in changes])
    stored = set(found or ())
    row_of = partial(_row_of, now=microseconds(now))
    if new := [change for change in changes if change.loan_id not in stored]:
        await copy_rows(connection, "processed_data", _COLUMNS, new, row_of)
    if changed := [change for change in changes if change.loan_id in stored]:
        await connection.execute(CREATE_ARRIVED_LOANS)
        await copy_rows(connection, "arrived_loans", _COLUMNS, changed, row_of, schema=None)
        await connection.execute(CHANGE_LOANS)


def _row_of(change: LoanChange, now: int) -> bytes:
    loan_id = change.loan_id.encode()
    loan, outcome = _NO_LOAN, _NO_OUTCOME
    if change.loan and change.loan_event_id:
        loan = _loan_cells(change.loan, change.loan_event_id, now)
    if change.outcome and change.outcome_event_id:
        outcome = _outcome_cells(change.outcome, change.outcome_event_id, now)
    return _LOAN_ID.pack(len(_COLUMNS), len(loan_id)) + loan_id + loan + outcome


def _loan_cells(loan: LoanPart, event_id: UUID, now: int) -> bytes:
    occurred_at, matured_at, features = microseconds(loan.occurred_at), microseconds(loan.matured_at), loan.features
    cells = (16, event_id.bytes, 8, occurred_at, 1, loan.is_history, 8, matured_at, 8, now, len(features))
    return _LOAN_CELLS.pack(*cells) + features


def _outcome_cells(outcome: OutcomePart, event_id: UUID, now: int) -> bytes:
    said_at, known_at = microseconds(outcome.occurred_at), microseconds(outcome.known_at)
    return _OUTCOME_CELLS.pack(16, event_id.bytes, 8, said_at, 1, outcome.defaulted, 8, known_at, 8, now, 8, now)


async def count_missing(connection: Connection, counts: Sequence[MissingCount]) -> None:
    await connection.execute(COUNT_MISSING, *zip(*counts, strict=True))
