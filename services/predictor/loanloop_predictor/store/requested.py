"""A batch that REST decides: keys, predictions and both events of the outbox by one statement, in one round trip."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from asyncpg import Record
from loanloop_common.events import Topic
from loanloop_common.postgres import Connection

from loanloop_predictor.domain.decisions import Decision
from loanloop_predictor.domain.incoming import LeavingLoan
from loanloop_predictor.domain.scored import begun_scored_event

# One statement is one transaction: all of it is there or nothing. The keys are claimed in the order given, so that
# replicas can't deadlock. IS TRUE keeps the planner from a join, for which it would guess the number of loans: it looks
# each event up in a table of hashes. `scored` lacks its last field, the transaction's time.
DECIDE_REQUESTED = """
WITH asked AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::bytea[], $4::text[], $5::timestamptz[], $6::text[], $7::float8[], $8::float8[],
        $9::text[], $10::text[], $11::bigint[], $12::text[], $13::real[], $14::text[], $15::bytea[], $16::bytea[],
        $17::text[], $18::text[]
    ) WITH ORDINALITY AS _ (
        event_id, decision_id, payload_sha256, loan_id, occurred_at, features, probability, threshold,
        decision, version, deployment_seq, engine, latency_ms, channel, received, scored, traceparent,
        requested_by, place
    )
), claimed AS (
    INSERT INTO loan_data.decision_keys (event_id, decision_id, payload_sha256)
    SELECT event_id, decision_id, payload_sha256 FROM asked
    ON CONFLICT (event_id) DO NOTHING
    RETURNING event_id
), won AS (
    SELECT * FROM asked WHERE (event_id IN (SELECT event_id FROM claimed)) IS TRUE
), stored AS (
    INSERT INTO loan_data.predictions (decision_id, event_id, loan_id, occurred_at, features, probability, threshold,
                                       decision, version, deployment_seq, engine, latency_ms, channel, requested_by)
    SELECT decision_id, event_id, loan_id, occurred_at, features::json, probability, threshold,
           decision, version, deployment_seq, engine, latency_ms, channel, requested_by FROM won
), enqueued AS (
    INSERT INTO loan_data.outbox (service, topic, message_key, payload, traceparent)
    SELECT 'predictor', event.topic, loan_id, event.payload, traceparent
    FROM won, LATERAL (VALUES
        (1, $19, received),
        (2, $20, scored || convert_to(
            '"' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"}', 'UTF8'))
    ) AS event (number, topic, payload)
    ORDER BY place, number
)
SELECT now() AS decided_at,
       CASE WHEN count(*) < cardinality($1::uuid[]) THEN coalesce(array_agg(event_id), '{}') END AS event_ids
FROM claimed
"""


TOPICS = (str(Topic.LOAN_RECEIVED), str(Topic.LOAN_SCORED))


async def decide_requested(
    connection: Connection, candidates: Sequence[Decision], loan_received: Mapping[UUID, LeavingLoan]
) -> Record:
    """When it was, and which events this call has claimed; None for all."""
    rows = [
        (
            d.event_id, d.decision_id, d.payload_sha256, d.loan_id, d.occurred_at, d.features, d.probability,
            d.threshold, d.decision, d.version, d.deployment_seq, d.engine, d.latency_ms, d.channel,
            loan.payload, begun_scored_event(d), loan.traceparent, loan.requested_by,
        )
        for d in candidates
        for loan in (loan_received[d.event_id],)
    ]  # fmt: skip
    claimed = await connection.fetchrow(DECIDE_REQUESTED, *zip(*rows, strict=True), *TOPICS)
    assert claimed is not None, "an aggregate has a row"
    return claimed
