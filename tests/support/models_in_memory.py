"""Deployments and a real bundle, as the predictor's store gives them."""

import hashlib
from datetime import UTC, datetime

from loanloop_common.errors import LoanloopError
from loanloop_predictor.domain.deployments import Deployment
from loanloop_predictor.store.models import StoredModel

from tests.support.bundles import make_bundle

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class ModelsInMemory:
    """`failing`: what a look for the deployments raises, while it is set."""

    def __init__(self) -> None:
        self.deployments: list[Deployment] = []
        self.bundle = make_bundle()
        self.failing: LoanloopError | None = None

    def deploy(self, version: str) -> None:
        self.deployments.insert(0, Deployment(len(self.deployments) + 1, version, NOW))

    async def fetch_deployments(self, slot: str) -> list[Deployment]:
        if self.failing:
            raise self.failing
        return self.deployments

    async def fetch_model(self, version: str) -> StoredModel:
        return StoredModel(version, self.bundle, hashlib.sha256(self.bundle).digest())
