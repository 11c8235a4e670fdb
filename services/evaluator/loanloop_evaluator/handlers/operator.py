"""What an operator may ask for. The `loanloop` command calls this in its own process; the evaluator need not run.

The event waits in the outbox for an evaluator to publish it; predictors also read the live version from the database.
"""

import asyncio

from loanloop_common.bundle import unpack
from loanloop_common.errors import BundleCorrupt
from loanloop_common.events import ModelDeployed
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import Connection, Pool

from loanloop_evaluator.domain.deployment import (
    Deployment,
    DeploymentRefused,
    promotion,
    rollback,
    unpinning,
)
from loanloop_evaluator.store.clock import fetch_as_of
from loanloop_evaluator.store.deployments import (
    fetch_bundle,
    fetch_live,
    fetch_past,
    fetch_versions,
    lock_slot,
    record_deployment,
)


class Operator:
    """`actor` is who asks; it is stored with the deployment. Each method raises DeploymentRefused."""

    def __init__(self, pool: Pool, portfolio: Portfolio, actor: str) -> None:
        self._pool = pool
        self._portfolio = portfolio
        self._actor = actor

    async def promote(self, version: str, reason: str) -> ModelDeployed:
        async with self._pool.acquire() as connection, connection.transaction():
            await lock_slot(connection, self._portfolio.name)
            live = await fetch_live(connection, self._portfolio.name)
            return await self._deploy(connection, promotion(version, live), reason)

    async def roll_back(self, version: str | None, reason: str) -> ModelDeployed:
        async with self._pool.acquire() as connection, connection.transaction():
            await lock_slot(connection, self._portfolio.name)
            live = await fetch_live(connection, self._portfolio.name)
            past = await fetch_past(connection, self._portfolio.name)
            return await self._deploy(connection, rollback(version, live, past), reason)

    async def unpin(self, reason: str) -> ModelDeployed:
        async with self._pool.acquire() as connection, connection.transaction():
            await lock_slot(connection, self._portfolio.name)
            live = await fetch_live(connection, self._portfolio.name)
            return await self._deploy(connection, unpinning(live), reason)

    async def _deploy(self, connection: Connection, deployment: Deployment, reason: str) -> ModelDeployed:
        await self._check_bundle(connection, deployment.version)
        as_of = await fetch_as_of(connection, self._portfolio.policy.min_outcomes)
        return await record_deployment(
            connection, self._portfolio.name, deployment, actor=self._actor, reason=reason, as_of=as_of
        )

    async def _check_bundle(self, connection: Connection, version: str) -> None:
        """No predictor could load it otherwise, and the slot would be live without a model."""
        stored = await fetch_bundle(connection, version)
        if stored is None:
            known = ", ".join(await fetch_versions(connection)) or "none yet"
            raise DeploymentRefused(f"there is no version {version} (known: {known})")
        if stored.schema_hash != self._portfolio.schema_hash:
            raise DeploymentRefused(f"{version} was trained for other features than the portfolio's")
        try:
            await asyncio.to_thread(unpack, stored.data, stored.sha256.hex(), version=version)
        except BundleCorrupt as corrupt:
            raise DeploymentRefused(str(corrupt)) from corrupt
