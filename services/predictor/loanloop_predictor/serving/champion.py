"""One loaded version: verified, warmed up and self-tested before anyone can see it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from loanloop_common.bundle import Bundle
from loanloop_common.errors import BundleCorrupt
from loanloop_common.features import Floats
from loanloop_common.portfolio import Portfolio
from loanloop_common.scoring import Scorer, engine
from loanloop_common.telemetry import observe
from loanloop_common.verified_scorer import load_verified

from loanloop_predictor.domain.deciding import DecidedBy
from loanloop_predictor.domain.deployments import Deployment
from loanloop_predictor.domain.incoming import IncomingLoan
from loanloop_predictor.store.models import StoredModel


@dataclass(frozen=True, slots=True)
class Champion:
    """What decides. Immutable: a request that has taken one keeps it, whatever is deployed meanwhile."""

    by: DecidedBy
    scorer: Scorer
    deployed_at: datetime
    load_ms: float | None

    @property
    def bundle(self) -> Bundle:
        return self.scorer.bundle

    def probabilities(self, incoming: Sequence[IncomingLoan]) -> Floats:
        """CPU-bound: call it in a thread. What the model gives: a value may be none."""
        return self.scorer.score_features([one.loan.features for one in incoming])

    def redeployed(self, deployment: Deployment) -> "Champion":
        """The same version under a newer deployment (a promote or unpin of what is live): nothing is loaded."""
        by = replace(self.by, deployment_seq=deployment.deployment_seq)
        return replace(self, by=by, deployed_at=deployment.deployed_at, load_ms=None)


def load_champion(model: StoredModel, deployment: Deployment, portfolio: Portfolio, *, threads: int) -> Champion:
    """CPU-bound: call it in a thread. Raises BundleCorrupt where the bundle is not what this service can serve."""
    started = time.perf_counter()
    with _observed():
        scorer = load_verified(
            model.bundle, model.bundle_sha256, version=model.version, portfolio=portfolio, threads=threads
        )
    by = DecidedBy(model.version, deployment.deployment_seq, scorer.bundle.manifest.threshold, engine())
    load_ms = (time.perf_counter() - started) * 1000
    return Champion(by, scorer, deployment.deployed_at, load_ms)


@contextmanager
def _observed() -> Iterator[None]:
    started, result = time.perf_counter(), "postponed"
    try:
        yield
        result = "served"
    except BundleCorrupt:
        result = "refused"
        raise
    finally:
        observe("loanloop_model_load_duration_seconds", time.perf_counter() - started, result=result)
