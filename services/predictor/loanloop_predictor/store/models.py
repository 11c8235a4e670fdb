"""What is live, the bundle of a version, and the alert when a bundle is refused."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loanloop_common.errors import LoanloopError
from loanloop_common.events import AlertRaised, Topic
from loanloop_common.outbox import enqueue
from loanloop_common.postgres import Pool

from loanloop_predictor.domain.deployments import Deployment
from loanloop_predictor.store.availability import connection_of

SELECT_DEPLOYMENTS = """
SELECT deployment_seq, version, deployed_at
FROM loan_data.deployments WHERE slot = $1
ORDER BY deployment_seq DESC LIMIT $2
"""

SELECT_MODEL = """
SELECT version, train_from, train_to, n_rows, metrics, bundle, bundle_sha256
FROM loan_data.model_metadata WHERE version = $1
"""

RAISE_ALERT = """
INSERT INTO loan_data.alerts (service, kind, dedup_key, severity, message, details)
VALUES ('predictor', $1, $2, $3, $4, $5)
ON CONFLICT (dedup_key) DO NOTHING
RETURNING alert_id
"""


@dataclass(frozen=True, slots=True)
class StoredModel:
    version: str
    train_from: datetime
    train_to: datetime
    n_rows: int
    metrics: dict[str, Any]
    bundle: bytes
    bundle_sha256: bytes


class UnknownVersion(LoanloopError):
    """No model of that version is stored."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(f"there is no model {version}")


class ModelStore:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def fetch_deployments(self, slot: str, *, limit: int = 10) -> list[Deployment]:
        """Newest first; the first one is live."""
        async with connection_of(self._pool) as connection:
            rows = await connection.fetch(SELECT_DEPLOYMENTS, slot, limit)
            return [Deployment(**dict(row)) for row in rows]

    async def fetch_model(self, version: str) -> StoredModel:
        async with connection_of(self._pool) as connection:
            row = await connection.fetchrow(SELECT_MODEL, version)
            if row is None:
                raise UnknownVersion(version)
            return StoredModel(**dict(row))

    async def raise_alert(self, alert: AlertRaised, *, dedup_key: str) -> bool:
        """Stores the alert and lets it leave as alert.raised; False where this fact has been raised before."""
        async with connection_of(self._pool) as connection, connection.transaction():
            facts = (alert.kind, dedup_key, alert.severity, alert.message, alert.details)
            if await connection.fetchval(RAISE_ALERT, *facts) is None:
                return False
            await enqueue(connection, service="predictor", topic=Topic.ALERT_RAISED, key=alert.kind, event=alert)
            return True
