"""What is live, the bundle of a version, and the alert when a bundle is refused."""

from dataclasses import dataclass

from loanloop_common.alerts import Alert, raise_alert
from loanloop_common.errors import LoanloopError
from loanloop_common.postgres import Pool

from loanloop_predictor.domain.deployments import Deployment
from loanloop_predictor.store.availability import connection_of

SELECT_DEPLOYMENTS = """
SELECT deployment_seq, version, deployed_at
FROM loan_data.deployments WHERE slot = $1
ORDER BY deployment_seq DESC LIMIT $2
"""

SELECT_MODEL = """
SELECT version, bundle, bundle_sha256
FROM loan_data.model_metadata WHERE version = $1
"""


@dataclass(frozen=True, slots=True)
class StoredModel:
    version: str
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

    async def raise_alert(self, alert: Alert) -> bool:
        """False where this fact has been raised before."""
        async with connection_of(self._pool) as connection, connection.transaction():
            return await raise_alert(connection, alert, service="predictor")
