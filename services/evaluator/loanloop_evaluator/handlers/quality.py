"""Watches the quality of the loans that arrive."""

import structlog

from loanloop_evaluator.domain.quality import QualityRule, complaint_about
from loanloop_evaluator.store.quality import QualityStore

log = structlog.get_logger()


class QualityWatch:
    def __init__(self, store: QualityStore, rule: QualityRule) -> None:
        self._store = store
        self._rule = rule

    async def look(self) -> None:
        """Alerts once for each day whose loans are rejected too often."""
        for arrived in await self._store.fetch_arrived():
            complaint = complaint_about(arrived, self._rule)
            if complaint and await self._store.raise_complaint(arrived, complaint):
                log.warning("data_quality_poor", day=arrived.day, n_loans=arrived.n, n_rejected=arrived.n_rejected)
