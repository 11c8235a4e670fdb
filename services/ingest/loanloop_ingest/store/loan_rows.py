"""The rows of loans: new ones are copied in, those that are there get what has come."""

from collections.abc import Sequence
from datetime import datetime

from loanloop_common.postgres import Connection
from msgspec import Raw

from loanloop_ingest.domain.loan_changes import LoanChange, MissingCount

SELECT_STORED = """
    SELECT now(), array_agg(loan_id) FROM loan_data.processed_data WHERE loan_id = ANY ($1::text[])
"""

# That there is a row was seen; INSERT all the same, for its way to the row is the key, whatever the planner knows of
# the tables, and the locks are taken in order. The newest correction holds.
CHANGE_LOANS = """
    INSERT INTO loan_data.processed_data AS stored (
        loan_id, event_id, occurred_at, features, is_history, matured_at, received_at,
        outcome_event_id, outcome_occurred_at, defaulted, known_at, outcome_received_at, outcome_first_received_at
    )
    SELECT loan_id, event_id, occurred_at, features, is_history, matured_at,
           CASE WHEN event_id IS NOT NULL THEN now() END,
           outcome_event_id, outcome_occurred_at, defaulted, known_at,
           CASE WHEN outcome_event_id IS NOT NULL THEN now() END,
           CASE WHEN outcome_event_id IS NOT NULL THEN now() END
    FROM unnest(
        $1::text[], $2::uuid[], $3::timestamptz[], $4::json[], $5::boolean[], $6::timestamptz[],
        $7::uuid[], $8::timestamptz[], $9::boolean[], $10::timestamptz[]
    ) AS arrived (
        loan_id, event_id, occurred_at, features, is_history, matured_at,
        outcome_event_id, outcome_occurred_at, defaulted, known_at
    )
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
    """stored.outcome_event_id IS NULL OR (excluded.outcome_occurred_at, excluded.known_at, excluded.outcome_event_id)
                   > (stored.outcome_occurred_at, stored.known_at, stored.outcome_event_id)""",
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

_COLUMNS = (
    "loan_id", "event_id", "occurred_at", "features", "is_history", "matured_at",
    "outcome_event_id", "outcome_occurred_at", "defaulted", "known_at",
    "received_at", "outcome_received_at", "outcome_first_received_at",
)  # fmt: skip
_NO_LOAN = (None,) * 4
_NO_OUTCOME = (None,) * 3


async def store_loans(connection: Connection, changes: Sequence[LoanChange]) -> None:
    """In the order given. Raises UniqueViolationError where another replica has stored one of the loans meanwhile.

    New rows come before changes: who waits for another's new row then holds no row that the other might wait for.
    """
    ((now, found),) = await connection.fetch(SELECT_STORED, [change.loan_id for change in changes])
    stored = set(found or ())
    if new := [(*_row_of(each), *_moments_of(each, now)) for each in changes if each.loan_id not in stored]:
        await connection.copy_records_to_table("processed_data", schema_name="loan_data", columns=_COLUMNS, records=new)
    if changed := [_row_of(each) for each in changes if each.loan_id in stored]:
        await connection.execute(CHANGE_LOANS, *zip(*changed, strict=True))


def _row_of(change: LoanChange) -> tuple[object, ...]:
    loan, outcome = change.loan, change.outcome
    return (
        change.loan_id,
        change.loan_event_id,
        *((loan.occurred_at, Raw(loan.features), loan.is_history, loan.matured_at) if loan else _NO_LOAN),
        change.outcome_event_id,
        *((outcome.occurred_at, outcome.defaulted, outcome.known_at) if outcome else _NO_OUTCOME),
    )


def _moments_of(change: LoanChange, now: datetime) -> tuple[datetime | None, ...]:
    outcome_at = now if change.outcome else None
    return now if change.loan else None, outcome_at, outcome_at


async def count_missing(connection: Connection, counts: Sequence[MissingCount]) -> None:
    await connection.execute(COUNT_MISSING, *zip(*counts, strict=True))
