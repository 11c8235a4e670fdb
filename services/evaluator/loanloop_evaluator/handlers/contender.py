"""A stored bundle, loaded exactly as the predictor loads it, with its scores on the gate's window."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from loanloop_common.bundle import unpack
from loanloop_common.errors import BundleCorrupt
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.scoring import Scorer
from numpy.typing import NDArray

from loanloop_evaluator.domain.ports import LoanScorer
from loanloop_evaluator.domain.scored import Scored
from loanloop_evaluator.store.deployments import StoredBundle


class BundleScorer:
    def __init__(self, stored: StoredBundle, codec: LoanCodec, threads: int) -> None:
        """Raises BundleCorrupt, also where the model does not give the scores that its manifest keeps."""
        bundle = unpack(stored.data, stored.sha256.hex(), version=stored.version)
        if bundle.version != stored.version:
            raise BundleCorrupt(stored.version, f"its manifest says that it is {bundle.version}")
        self._decode = codec.decode_features
        self._scorer = Scorer(bundle, threads=threads)
        self._scorer.self_test()
        self.threshold = bundle.manifest.threshold

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
        if not ((probability >= 0) & (probability <= 1)).all():
            raise BundleCorrupt(self.bundle.version, "its scores are no probabilities")
        self.batches.append(probability)

    def scored(self, defaulted: NDArray[np.bool_]) -> Scored:
        probability = np.concatenate(self.batches)
        return Scored(probability, probability >= self.scorer.threshold, defaulted)


class BundleLoader:
    """Makes contenders for one portfolio. Blocks: call it in a thread."""

    def __init__(self, codec: LoanCodec, *, schema_hash: str, threads: int) -> None:
        self._schema_hash = schema_hash
        self._make = partial(BundleScorer, codec=codec, threads=threads)

    def load(self, stored: StoredBundle) -> LoanScorer:
        """Raises BundleCorrupt."""
        if stored.schema_hash != self._schema_hash:
            raise BundleCorrupt(stored.version, "was trained for other features than the portfolio's")
        return self._make(stored)
