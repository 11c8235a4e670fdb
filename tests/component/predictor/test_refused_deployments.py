"""A deployment whose bundle can't be served: said once, whatever fails while it is said."""

from datetime import UTC, datetime

import pytest
from loanloop_common.alerts import Alert
from loanloop_common.errors import Unavailable
from loanloop_common.portfolio_file import load_portfolio
from loanloop_predictor.domain.deployments import Deployment
from loanloop_predictor.serving.champions import Champions
from loanloop_predictor.store.models import StoredModel

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class BrokenModelStore:
    """One deployment of what is no bundle; alerts are kept, once the database takes them."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.is_away = False

    async def fetch_deployments(self, slot: str) -> list[Deployment]:
        return [Deployment(1, "v1", NOW)]

    async def fetch_model(self, version: str) -> StoredModel:
        return StoredModel(version, b"no bundle", b"no hash")

    async def raise_alert(self, alert: Alert) -> bool:
        if self.is_away:
            raise Unavailable("PostgreSQL does not answer")
        self.alerts.append(alert)
        return True


async def test_the_alert_of_a_refused_deployment_survives_a_database_that_goes_away_before_it() -> None:
    store = BrokenModelStore()
    champions = Champions(store, load_portfolio("sba"), threads=1)  # type: ignore[arg-type]  # a store in memory
    store.is_away = True
    with pytest.raises(Unavailable):
        await champions.reconcile()

    store.is_away = False
    await champions.reconcile()
    await champions.reconcile()

    assert [(alert.kind, alert.fact, alert.severity) for alert in store.alerts] == [("model_refused", 1, "critical")]
    assert champions.refusal is not None
    assert champions.refusal.version == "v1"
