"""What is live here: loaded from the database, swapped by moving one reference."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from loanloop_common.alerts import Alert
from loanloop_common.errors import BundleCorrupt, Unavailable
from loanloop_common.portfolio import Portfolio
from loanloop_common.telemetry import observe
from loanloop_common.tracing import span

from loanloop_predictor.domain.deployments import Deployment, to_apply
from loanloop_predictor.serving.champion import Champion, load_champion
from loanloop_predictor.serving.freeing import free
from loanloop_predictor.store.availability import DatabaseAway
from loanloop_predictor.store.models import ModelStore

log = structlog.get_logger()


class NoModel(Unavailable):
    """Nothing is deployed yet, or nothing that can be served."""


@dataclass(frozen=True, slots=True)
class Swap:
    """How long the last swap took: `load_ms` beside the old version, `switch_us` for the reference itself.

    `load_ms` is None where the version was live already and nothing was loaded.
    """

    version: str
    deployment_seq: int
    load_ms: float | None
    switch_us: float


@dataclass(frozen=True, slots=True)
class UnservedDeployment:
    version: str
    deployment_seq: int
    reason: str


class Champions:
    """Holds the one reference to the version that decides; the former is freed when its last request ends."""

    def __init__(
        self,
        store: ModelStore,
        portfolio: Portfolio,
        *,
        threads: int,
        on_swap: Callable[[Swap], None] = lambda _swap: None,
    ) -> None:
        self.slot = portfolio.name
        self.available = asyncio.Event()
        self.last_swap: Swap | None = None
        self.refused: dict[int, UnservedDeployment] = {}
        self.postponed: UnservedDeployment | None = None  # the last look could not load it, the next one will try
        self._store = store
        self._portfolio = portfolio
        self._threads = threads
        self._on_swap = on_swap
        self._begun_at = datetime.now(UTC)
        self._current: Champion | None = None
        self._deployed: str | None = None  # what the last look found, served or not
        self._has_looked = False
        self._one_at_a_time = asyncio.Lock()

    @property
    def current(self) -> Champion | None:
        return self._current

    @property
    def applied_seq(self) -> int | None:
        return self._current.by.deployment_seq if self._current else None

    @property
    def refusal(self) -> UnservedDeployment | None:
        """The newest refused deployment that would otherwise be served."""
        return self._newest(self.refused)

    def serving(self) -> Champion:
        """Raises NoModel."""
        if self._current is None:
            raise NoModel(f"waiting for a model: {self._why_none()}")
        return self._current

    def _why_none(self) -> str:
        if not self._has_looked:
            return "the predictor has just started and does not know yet which one is live"
        if self.refusal:
            return f"{self.refusal.version} was refused: {self.refusal.reason}"
        if self.postponed:
            return f"{self.postponed.version} can't be loaded for now: {self.postponed.reason}"
        if self._deployed:
            return f"{self._deployed} is being loaded"
        return f"none is deployed for {self._portfolio.name}"

    async def reload(self) -> None:
        """As `reconcile`, and tries again what was refused before."""
        self.refused.clear()
        await self.reconcile()

    async def reconcile(self) -> None:
        """Serve the newest deployment that can be served.

        Raises Unavailable when the database is away, and when a newer deployment can't be loaded for now, for want of
        memory, say: each look tries it again.
        """
        async with self._one_at_a_time:
            short: dict[int, UnservedDeployment] = {}
            while deployment := await self._next(short):
                try:
                    await self._serve(deployment)
                except BundleCorrupt as corrupt:
                    await self._refuse(deployment, corrupt.reason)
                except DatabaseAway:
                    raise
                except (Unavailable, MemoryError) as error:
                    short[deployment.deployment_seq] = _unserved(deployment, error)
                    if self.postponed is None:
                        break  # what may have passed at the next look is waited for: decisions of an older version last
            self.postponed = self._newest(short)
        self._tell_of_postponed()

    def _tell_of_postponed(self) -> None:
        if self.postponed is not None:
            serving = self._current.by.version if self._current else "nothing"
            raise Unavailable(f"{self.postponed.reason}; {serving} serves, and {self.postponed.version} is tried again")

    def _newest(self, unserved: Mapping[int, UnservedDeployment]) -> UnservedDeployment | None:
        newest = max(unserved, default=None)
        return None if newest is None or newest < (self.applied_seq or 0) else unserved[newest]

    async def _next(self, short: Collection[int]) -> Deployment | None:
        newest_first = await self._store.fetch_deployments(self._portfolio.name)
        self._deployed, self._has_looked = newest_first[0].version if newest_first else None, True
        return to_apply(newest_first, self.applied_seq, {*self.refused, *short})

    async def _serve(self, deployment: Deployment) -> None:
        with span("deployment", version=deployment.version, deployment_seq=deployment.deployment_seq):
            former = self._swap(await self._loaded(deployment))
        self._observe(deployment, "served")
        # Freeing its sessions takes milliseconds, which the event loop must not spend.
        await asyncio.to_thread(free, former)

    async def _loaded(self, deployment: Deployment) -> Champion:
        if self._current and self._current.by.version == deployment.version:
            return self._current.redeployed(deployment)
        model = await self._store.fetch_model(deployment.version)
        return await asyncio.to_thread(load_champion, model, deployment, self._portfolio, threads=self._threads)

    def _swap(self, champion: Champion) -> list[object]:
        """Returns the former one, whose last reference the caller has to drop."""
        former: list[object] = [self._current]
        started = time.perf_counter_ns()
        self._current = champion
        switch_us = (time.perf_counter_ns() - started) / 1000
        self.available.set()
        self.last_swap = Swap(champion.by.version, champion.by.deployment_seq, champion.load_ms, switch_us)
        log.info(
            "model_swapped",
            version=champion.by.version,
            deployment_seq=champion.by.deployment_seq,
            load_ms=champion.load_ms and round(champion.load_ms, 1),
            switch_us=round(switch_us, 2),
        )
        self._on_swap(self.last_swap)
        return former

    async def _refuse(self, deployment: Deployment, reason: str) -> None:
        refused = UnservedDeployment(deployment.version, deployment.deployment_seq, reason)
        serving = self._current.by.version if self._current else None
        log.error("model_refused", version=refused.version, reason=reason, still_serving=serving)
        alert = Alert(
            kind="model_refused",
            fact=refused.deployment_seq,
            severity="critical",
            message=f"{refused.version} was deployed but can't be served: {reason}",
            details={"version": refused.version, "deployment_seq": refused.deployment_seq, "serving": serving},
        )
        self._observe(deployment, "refused")
        # First the alert: what is marked as refused is not looked at again.
        await self._store.raise_alert(alert)
        self.refused[deployment.deployment_seq] = refused

    def _observe(self, deployment: Deployment, result: str) -> None:
        """From the deployment to here; one that is older than this process says nothing about how long it takes."""
        if deployment.deployed_at >= self._begun_at:
            took_s = (datetime.now(UTC) - deployment.deployed_at).total_seconds()
            observe("loanloop_run_duration_seconds", max(took_s, 0.0), kind="deploy", result=result)


def _unserved(deployment: Deployment, error: Exception) -> UnservedDeployment:
    """The error's words alone: its traceback holds what was loaded so far, and memory may be what is wanted."""
    told = str(error) or f"bundle {deployment.version} can't be loaded for now: {type(error).__name__}"
    return UnservedDeployment(deployment.version, deployment.deployment_seq, told)
