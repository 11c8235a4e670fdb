"""What an operator may ask for. The `loanloop` command calls this in its own process; the evaluator need not run.

The event waits in the outbox for an evaluator to publish it; predictors also read the live version from the database.
"""

import asyncio
from collections.abc import Callable

from loanloop_common.errors import BundleCorrupt
from loanloop_common.event_time import fetch_as_of
from loanloop_common.events import ModelDeployed
from loanloop_common.postgres import Connection, Pool

from loanloop_evaluator.domain.deployment import (
    DeploymentRefused,
    PlannedDeployment,
    promotion,
    rollback,
    unpinning,
)
from loanloop_evaluator.domain.ports import LoanScorer
from loanloop_evaluator.store.deployments import (
    StoredBundle,
    fetch_bundle,
    fetch_live,
    fetch_past,
    fetch_versions,
    lock_slot,
    record_deployment,
)


class Operator:
    """`actor` is who asks; it is stored with the deployment. Each method raises DeploymentRefused."""

    def __init__(
        self, pool: Pool, *, slot: str, min_outcomes: int, load: Callable[[StoredBundle], LoanScorer], actor: str
    ) -> None:
        self._pool = pool
        self._slot = slot
        self._min_outcomes = min_outcomes
        self._load = load
        self._actor = actor

    async def promote(self, version: str, reason: str) -> ModelDeployed:
        async with self._pool.acquire() as connection, connection.transaction():
            await lock_slot(connection, self._slot)
            await _refuse_unknown(connection, version)
            live = await fetch_live(connection, self._slot)
            return await self._deploy(connection, promotion(version, live), reason)

    async def roll_back(self, version: str | None, reason: str) -> ModelDeployed:
        async with self._pool.acquire() as connection, connection.transaction():
            await lock_slot(connection, self._slot)
            if version is not None:
                await _refuse_unknown(connection, version)
            live = await fetch_live(connection, self._slot)
            past = await fetch_past(connection, self._slot)
            return await self._deploy(connection, rollback(version, live, past), reason)

    async def unpin(self, reason: str) -> ModelDeployed:
        async with self._pool.acquire() as connection, connection.transaction():
            await lock_slot(connection, self._slot)
            live = await fetch_live(connection, self._slot)
            return await self._deploy(connection, unpinning(live), reason)

    async def _deploy(self, connection: Connection, deployment: PlannedDeployment, reason: str) -> ModelDeployed:
        await self._check_bundle(connection, deployment.version)
        as_of = await fetch_as_of(connection, self._min_outcomes)
        return await record_deployment(
            connection, self._slot, deployment, actor=self._actor, reason=reason, as_of=as_of
        )

    async def _check_bundle(self, connection: Connection, version: str) -> None:
        """No predictor could load it otherwise, and the slot would be live without a model."""
        stored = await fetch_bundle(connection, version)
        try:
            scorer = await asyncio.to_thread(self._load, stored)
        except BundleCorrupt as corrupt:
            raise DeploymentRefused(str(corrupt)) from corrupt
        scorer.close()


async def _refuse_unknown(connection: Connection, version: str) -> None:
    known = await fetch_versions(connection)
    if version not in known:
        raise DeploymentRefused(f"there is no version {version} (known: {', '.join(known) or 'none yet'})")
