"""Keeps the metrics that come from the database as they are there."""

from loanloop_common.polling import Poller
from loanloop_common.telemetry import replace_series

from loanloop_evaluator.domain.facts import WatchedPolicy, series_of
from loanloop_evaluator.store.facts import FactStore


class FactsWatch:
    """Where a look fails the series stay as they were: that it fails is a metric too."""

    name = "facts"

    def __init__(self, store: FactStore, policy: WatchedPolicy, *, every_s: float) -> None:
        self._store = store
        self._policy = policy
        self._poller = Poller(self.look, every_s=every_s, name=self.name)

    @property
    def state(self) -> str:
        return self._poller.state

    async def start(self) -> None:
        await self._poller.start()

    async def stop(self) -> None:
        await self._poller.stop()
        await self._store.close()

    async def look(self) -> None:
        for name, series in series_of(await self._store.fetch_facts(), self._policy).items():
            replace_series(name, series)
