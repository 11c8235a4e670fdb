"""Deployments and a real bundle, as the predictor's store gives them."""

import hashlib
from datetime import UTC, datetime

from loanloop_common.bundle import pack, unpack
from loanloop_common.errors import LoanloopError
from loanloop_predictor.domain.deployments import Deployment
from loanloop_predictor.store.models import StoredModel

from tests.support.bundles import make_bundle

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class ModelsInMemory:
    """`failing`: what a look for the deployments raises, while it is set; `short_of`: what a version's bundle does."""

    def __init__(self) -> None:
        self.deployments: list[Deployment] = []
        self.bundle = make_bundle()
        self.failing: LoanloopError | None = None
        self.short_of: dict[str, Exception] = {}
        self.looked_at: list[str] = []

    def deploy(self, version: str) -> None:
        self.deployments.insert(0, Deployment(len(self.deployments) + 1, version, NOW))

    async def fetch_deployments(self, slot: str) -> list[Deployment]:
        if self.failing:
            raise self.failing
        return self.deployments

    async def fetch_model(self, version: str) -> StoredModel:
        self.looked_at.append(version)
        if version in self.short_of:
            raise self.short_of[version]
        bundle = self._bundle_of(version)
        return StoredModel(version, bundle, hashlib.sha256(bundle).digest())

    def _bundle_of(self, version: str) -> bytes:
        made = unpack(self.bundle)
        return pack(made.manifest.model_copy(update={"version": version}), made.encoder, made.model)
