"""Decisions: decision_keys and predictions; `requested` stores those made by REST."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Record
from loanloop_common.bisection import bisect_batch
from loanloop_common.postgres import Connection, Pool
from msgspec import Raw

from loanloop_predictor.domain.decisions import Decision, DecisionNotKept, StoredDecision, first_of_each_event
from loanloop_predictor.domain.incoming import LeavingLoan
from loanloop_predictor.store.availability import connection_of
from loanloop_predictor.store.requested import decide_requested

# decided_at is the transaction's time. Which events were claimed is told only where some were decided before.
CLAIM_EVENTS = """
WITH claimed AS (
    INSERT INTO loan_data.decision_keys (event_id, decision_id, payload_sha256)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bytea[])
    ON CONFLICT (event_id) DO NOTHING
    RETURNING event_id, decided_at
)
SELECT now() AS decided_at,
       CASE WHEN count(*) < cardinality($1::uuid[]) THEN coalesce(array_agg(event_id), '{}') END AS event_ids
FROM claimed
"""

# By COPY. decided_at is the transaction's time in both tables, so that a key leads to its row's partition.
PREDICTION_COLUMNS = (
    "decision_id", "event_id", "loan_id", "occurred_at", "features", "probability", "threshold", "decision", "version",
    "deployment_seq", "engine", "latency_ms", "channel",
)  # fmt: skip

SELECT_BY_EVENT = """
SELECT key.decision_id, key.event_id, key.payload_sha256, key.decided_at, prediction.loan_id, prediction.occurred_at,
       prediction.features::text AS features, prediction.probability, prediction.threshold, prediction.decision,
       prediction.version, prediction.deployment_seq, prediction.engine, prediction.latency_ms, prediction.channel
FROM loan_data.decision_keys AS key
LEFT JOIN loan_data.predictions AS prediction USING (decision_id, decided_at)
WHERE key.event_id = ANY ($1::uuid[])
"""

KEY_FACTS = ("event_id", "decision_id", "payload_sha256", "decided_at")
SELECT_EVENT_OF = "SELECT event_id FROM loan_data.decision_keys WHERE decision_id = $1"

Held = StoredDecision | DecisionNotKept
RecordSome = Callable[[Connection, Sequence[Decision]], Awaitable[dict[UUID, Held]]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """By event_id: what was decided, now or earlier, and why the database takes no decision. Each event is in one."""

    held: dict[UUID, Held]
    refused: dict[UUID, str]


class DecisionStore:
    """First writer wins: whatever is handed in again, the decision stored first is the one that comes back."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record_streamed(self, decisions: Sequence[Decision]) -> Recorded:
        """Raises Unavailable: then nothing of this call is lost that a second one would not store.

        What the stream has decided is published before its offsets are committed: they are its outbox.
        """
        return await self._record_all(decisions, _record_streamed)

    async def record_requested(
        self, decisions: Sequence[Decision], loan_received: Mapping[UUID, LeavingLoan]
    ) -> Recorded:
        """As `record_streamed`; the new ones leave as loan.received and loan.scored with the same transaction."""

        async def record(connection: Connection, candidates: Sequence[Decision]) -> dict[UUID, Held]:
            return await _held_after(
                connection, candidates, await decide_requested(connection, candidates, loan_received)
            )

        return await self._record_all(decisions, record)

    async def fetch_held(self, event_ids: Sequence[UUID]) -> dict[UUID, Held]:
        """What is decided of these events."""
        async with connection_of(self._pool) as connection:
            return await _fetch_by_event(connection, event_ids)

    async def fetch_decision(self, decision_id: UUID) -> StoredDecision | None:
        """Raises DecisionNotKept."""
        async with connection_of(self._pool) as connection:
            event_id = await connection.fetchval(SELECT_EVENT_OF, decision_id)
            held = (await _fetch_by_event(connection, [event_id])).get(event_id)
        if isinstance(held, DecisionNotKept):
            raise held
        return held

    async def _record_all(self, decisions: Sequence[Decision], record: RecordSome) -> Recorded:
        held: dict[UUID, Held] = {}

        async def record_some(some: Sequence[Decision]) -> None:
            async with connection_of(self._pool) as connection:
                held.update(await record(connection, some))

        refused = await bisect_batch(first_of_each_event(decisions), record_some)
        return Recorded(held, {made.event_id: str(reason) for made, reason in refused})


async def _record_streamed(connection: Connection, candidates: Sequence[Decision]) -> dict[UUID, Held]:
    """Takes each event once, in key order, so that replicas can't deadlock."""
    async with connection.transaction():
        claimed = await connection.fetchrow(
            CLAIM_EVENTS,
            [made.event_id for made in candidates],
            [made.decision_id for made in candidates],
            [made.payload_sha256 for made in candidates],
        )
        assert claimed is not None, "an aggregate has a row"
        await _insert_predictions(connection, _parted(candidates, claimed["event_ids"])[0])
    return await _held_after(connection, candidates, claimed)


async def _held_after(connection: Connection, candidates: Sequence[Decision], claimed: Record) -> dict[UUID, Held]:
    """What the winners' transaction has stored, and what others had; those are read in a snapshot that sees them."""
    won, lost = _parted(candidates, claimed["event_ids"])
    decided_at: datetime = claimed["decided_at"]
    new: dict[UUID, Held] = {made.event_id: StoredDecision(made, decided_at, is_new=True) for made in won}
    return new | await _fetch_by_event(connection, lost)


def _parted(
    candidates: Sequence[Decision], claimed: Sequence[UUID] | None
) -> tuple[Sequence[Decision], Sequence[UUID]]:
    """Those that this transaction decides, and the events that were decided before; None: all are claimed."""
    if claimed is None:
        return candidates, ()
    ours = set(claimed)
    lost = [made.event_id for made in candidates if made.event_id not in ours]
    return [made for made in candidates if made.event_id in ours], lost


async def _insert_predictions(connection: Connection, made: Sequence[Decision]) -> None:
    if not made:
        return
    rows = [
        (
            d.decision_id, d.event_id, d.loan_id, d.occurred_at, Raw(d.features.encode()), d.probability, d.threshold,
            d.decision, d.version, d.deployment_seq, d.engine, d.latency_ms, d.channel,
        )
        for d in made
    ]  # fmt: skip
    await connection.copy_records_to_table(
        "predictions", schema_name="loan_data", columns=PREDICTION_COLUMNS, records=rows
    )


async def _fetch_by_event(connection: Connection, event_ids: Sequence[UUID]) -> dict[UUID, Held]:
    if not event_ids:
        return {}
    return {row["event_id"]: _held(row) for row in await connection.fetch(SELECT_BY_EVENT, event_ids)}


def _held(row: Record) -> Held:
    facts = dict(row)
    if facts["loan_id"] is None:
        return DecisionNotKept(**{name: facts[name] for name in KEY_FACTS})
    decided_at = facts.pop("decided_at")
    return StoredDecision(Decision(**facts), decided_at, is_new=False)
