"""Days whose labels, or whose loans, came or changed since a look, each with a signature of what it holds now."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec
from loanloop_common.postgres import Connection

from loanloop_evaluator.domain.clock import spans_of, start_of

SELECT_TOUCHED_DAYS = """
    SELECT DISTINCT (counts_at AT TIME ZONE 'UTC')::date AS day FROM (
        SELECT counts_at, is_history FROM loan_data.processed_data
        WHERE counts_at IS NOT NULL AND outcome_received_at >= $1
        UNION ALL
        SELECT counts_at, is_history FROM loan_data.processed_data
        WHERE counts_at IS NOT NULL AND received_at >= $1
    ) arrived
    WHERE is_history IS NOT TRUE AND counts_at < $2
"""

SELECT_SIGNATURES = """
    SELECT (counts_at AT TIME ZONE 'UTC')::date AS day, count(*),
           sum(extract(epoch FROM outcome_received_at)), sum(extract(epoch FROM received_at))
    FROM loan_data.processed_data
    WHERE counts_at >= $1 AND counts_at < $2 AND is_history IS NOT TRUE
    GROUP BY 1
"""

SELECT_LEFT = """
    SELECT r.payload, p.matured_at
    FROM loan_data.processed_data p
    JOIN loan_data.raw_data r ON r.loan_id = p.loan_id AND r.topic = 'loan.outcome'
    WHERE p.counts_at IS NOT NULL AND p.is_history IS NOT TRUE
      AND p.outcome_received_at >= $1 AND p.outcome_received_at > p.outcome_first_received_at
"""


class _Known(msgspec.Struct):
    known_at: datetime


class Signature(NamedTuple):
    """Of a day's labels: another one whenever a label comes, is corrected or moves."""

    n_labels: int
    labels_received: Decimal
    loans_received: Decimal


NOTHING = Signature(0, Decimal(0), Decimal(0))


async def fetch_touched_days(connection: Connection, since: datetime, up_to: date) -> dict[date, Signature]:
    """Days to `up_to` on which something arrived at or after `since`, or which a correction moved a loan away from."""
    rows = await connection.fetch(SELECT_TOUCHED_DAYS, since, start_of(up_to + timedelta(days=1)))
    days = {row["day"] for row in rows} | await _left_days(connection, since, up_to)
    return dict.fromkeys(days, NOTHING) | await _signatures(connection, days)


async def _signatures(connection: Connection, days: Iterable[date]) -> dict[date, Signature]:
    signatures: dict[date, Signature] = {}
    for first, last in spans_of(days):
        rows = await connection.fetch(SELECT_SIGNATURES, start_of(first), start_of(last + timedelta(days=1)))
        signatures |= {row[0]: Signature(*row[1:]) for row in rows}
    return signatures


async def _left_days(connection: Connection, since: datetime, up_to: date) -> set[date]:
    """Days that corrections moved loans away from: as the loans' earlier outcomes said."""
    rows = await connection.fetch(SELECT_LEFT, since)
    outcomes = ((msgspec.json.decode(row["payload"], type=_Known), row["matured_at"]) for row in rows)
    days = {max(outcome.known_at, matured_at).astimezone(UTC).date() for outcome, matured_at in outcomes}
    return {day for day in days if day <= up_to}
