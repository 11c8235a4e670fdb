"""A stored bundle, loaded and checked as it will be for serving, with its scores on the gate's window."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from loanloop_common.bundle import are_probabilities, declines
from loanloop_common.errors import BundleCorrupt
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Portfolio
from loanloop_common.verified_scorer import load_verified
from numpy.typing import NDArray

from loanloop_evaluator.domain.ports import LoanScorer
from loanloop_evaluator.domain.scored import Scored
from loanloop_evaluator.store.deployments import StoredBundle


class BundleScorer:
    def __init__(self, stored: StoredBundle, *, portfolio: Portfolio, threads: int) -> None:
        """Blocks: call it in a thread. Raises BundleCorrupt, Unavailable."""
        self._scorer = load_verified(
            stored.data, stored.sha256, version=stored.version, portfolio=portfolio, threads=threads
        )
        self._decode = LoanCodec(portfolio).decode_features
        self.threshold = self._scorer.bundle.manifest.threshold

    def probabilities(self, features: Sequence[str]) -> NDArray[np.float64]:
        return self._scorer.score_features([self._decode(text) for text in features])

    def close(self) -> None:
        self._scorer.close()


@dataclass(slots=True)
class Contender:
    bundle: StoredBundle
    scorer: LoanScorer
    batches: list[NDArray[np.float64]] = field(default_factory=list)

    def score(self, features: Sequence[str]) -> None:
        """Raises BundleCorrupt when the model gives what is no probability."""
        probability = np.asarray(self.scorer.probabilities(features), dtype=np.float64)
        if not are_probabilities(probability).all():
            raise BundleCorrupt(self.bundle.version, "its scores are no probabilities")
        self.batches.append(probability)

    def scored(self, defaulted: NDArray[np.bool_]) -> Scored:
        probability = np.concatenate(self.batches)
        return Scored(probability, declines(probability, self.scorer.threshold), defaulted)
