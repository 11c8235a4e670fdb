"""What is live, and how that changes. Every change is made under one lock, with its event in the same transaction."""

from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from asyncpg import Record
from loanloop_common.events import ModelDeployed, Topic
from loanloop_common.outbox import enqueue
from loanloop_common.postgres import Connection

from loanloop_evaluator.domain.deployment import Live, PastDeployment, PlannedDeployment

SERVICE = "evaluator"

LOCK_SLOT = "SELECT pg_advisory_xact_lock(hashtext('loan_data.deployments.' || $1))"

SELECT_LIVE = """
    SELECT version, deployment_seq, pinned FROM loan_data.deployments
    WHERE slot = $1
    ORDER BY deployment_seq DESC
    LIMIT 1
"""

SELECT_PAST = """
    SELECT deployment_seq, version, kind, previous FROM loan_data.deployments
    WHERE slot = $1
    ORDER BY deployment_seq
"""

SELECT_BUNDLE = """
    SELECT version, bundle, bundle_sha256, train_to FROM loan_data.model_metadata
    WHERE version = $1
"""

SELECT_VERSIONS = "SELECT version FROM loan_data.model_metadata ORDER BY number"

# clock_timestamp, not now: transactions that waited for the lock would be stored with an older time.
INSERT_DEPLOYMENT = """
    INSERT INTO loan_data.deployments
        (deployment_seq, slot, version, kind, pinned, previous, actor, reason, event_id, as_of, deployed_at)
    SELECT coalesce(max(deployment_seq), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp()
    FROM loan_data.deployments
    RETURNING deployment_seq, slot, version, kind, pinned, previous, actor, reason, event_id, as_of, deployed_at,
        (SELECT bundle_sha256 FROM loan_data.model_metadata WHERE version = $2)
"""

CLOSE_BREACH = """
    UPDATE loan_data.breaches
    SET closed_at = clock_timestamp(), closed_on = ($2::timestamptz AT TIME ZONE 'UTC')::date,
        closed_by = 'deployment'
    WHERE version = $1 AND closed_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class StoredBundle:
    version: str
    data: bytes
    sha256: bytes
    train_to: datetime


async def lock_slot(connection: Connection, slot: str) -> None:
    """Until the transaction ends nobody else changes what is live in the slot."""
    await connection.execute(LOCK_SLOT, slot)


async def fetch_live(connection: Connection, slot: str) -> Live | None:
    row = await connection.fetchrow(SELECT_LIVE, slot)
    return Live(row["version"], row["deployment_seq"], row["pinned"]) if row else None


async def fetch_past(connection: Connection, slot: str) -> list[PastDeployment]:
    rows = await connection.fetch(SELECT_PAST, slot)
    return [PastDeployment(row["deployment_seq"], row["version"], row["kind"], row["previous"]) for row in rows]


async def fetch_bundle(connection: Connection, version: str) -> StoredBundle:
    """Raises LookupError where there is no such version."""
    row = await connection.fetchrow(SELECT_BUNDLE, version)
    if row is None:
        raise LookupError(f"{version} has no row in model_metadata")
    return StoredBundle(*row)


async def fetch_versions(connection: Connection) -> list[str]:
    rows = await connection.fetch(SELECT_VERSIONS)
    return [row["version"] for row in rows]


async def record_deployment(
    connection: Connection, slot: str, deployment: PlannedDeployment, *, actor: str, reason: str, as_of: datetime | None
) -> ModelDeployed:
    """Make the version live and say so; the caller's transaction holds the slot's lock.

    Closes the breach of the version that it replaces.
    """
    row = await connection.fetchrow(
        INSERT_DEPLOYMENT,
        slot, deployment.version, deployment.kind, deployment.pinned, deployment.previous,
        actor, reason, uuid4(), as_of,
    )  # fmt: skip
    assert row is not None  # INSERT … RETURNING of an aggregate
    if deployment.previous not in (None, deployment.version):
        await _close_breach(connection, deployment.previous, as_of)
    event = _event_of(row)
    await enqueue(connection, service=SERVICE, topic=Topic.MODEL_DEPLOYED, key=slot, event=event)
    return event


def _event_of(row: Record) -> ModelDeployed:
    facts = dict(row)
    as_of = facts.pop("as_of")
    facts["bundle_sha256"] = facts["bundle_sha256"].hex()
    return ModelDeployed(occurred_at=as_of or facts["deployed_at"], **facts)


async def _close_breach(connection: Connection, version: str | None, as_of: datetime | None) -> None:
    await connection.execute(CLOSE_BREACH, version, as_of)
