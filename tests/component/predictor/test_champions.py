"""What is served as deployments come, with real bundles from a store in memory."""

import hashlib
from datetime import UTC, datetime

from loanloop_common.bundle import unpack
from loanloop_common.portfolio_file import load_portfolio
from loanloop_predictor.domain.deployments import Deployment
from loanloop_predictor.serving.champions import Champions, Swap
from loanloop_predictor.store.models import StoredModel

from tests.support.bundles import make_bundle

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class ModelsInMemory:
    def __init__(self) -> None:
        self.deployments: list[Deployment] = []
        self.bundle = make_bundle()

    def deploy(self, version: str) -> None:
        self.deployments.insert(0, Deployment(len(self.deployments) + 1, version, NOW))

    async def fetch_deployments(self, slot: str) -> list[Deployment]:
        return self.deployments

    async def fetch_model(self, version: str) -> StoredModel:
        return StoredModel(version, self.bundle, hashlib.sha256(self.bundle).digest())


async def test_promote_of_the_live_version_is_a_swap_without_a_load() -> None:
    store, swaps = ModelsInMemory(), list[Swap]()
    champions = Champions(store, load_portfolio("sba"), threads=1, on_swap=swaps.append)  # type: ignore[arg-type]
    store.deploy("v1")
    await champions.reconcile()
    scorer = champions.serving().scorer
    store.deploy("v1")
    await champions.reconcile()

    assert champions.serving().scorer is scorer
    assert [(swap.deployment_seq, swap.load_ms is None) for swap in swaps] == [(1, False), (2, True)]
    assert champions.serving().bundle.manifest == unpack(store.bundle).manifest
    scorer.close()
