"""A stored decision once more: its own features, by its own version's bundle."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from loanloop_common.bundle import unpack
from loanloop_common.errors import LoanloopError
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.scoring import ELSEWHERE_TOLERANCE, Scorer, engine

from loanloop_predictor.domain.decisions import CreditDecision, StoredDecision
from loanloop_predictor.domain.self_test import same_bits
from loanloop_predictor.store.decisions import DecisionStore
from loanloop_predictor.store.models import ModelStore, StoredModel


class UnknownDecision(LoanloopError):
    """No decision of that id is stored."""

    def __init__(self, decision_id: UUID) -> None:
        super().__init__(f"there is no decision {decision_id}; ids are in loan.scored and in the answers of /predict")


@dataclass(frozen=True, slots=True)
class Replay:
    """`engine` is this machine's; the same bits are promised where it is the stored one, else 1e-6."""

    stored: StoredDecision
    probability: float
    decision: CreditDecision
    engine: str

    @property
    def same_engine(self) -> bool:
        return self.engine == self.stored.decision.engine

    @property
    def same_bits(self) -> bool:
        return same_bits(self.probability, self.stored.decision.probability)

    @property
    def difference(self) -> float:
        return abs(self.probability - self.stored.decision.probability)

    @property
    def as_promised(self) -> bool:
        if not self.same_engine:
            return self.difference <= ELSEWHERE_TOLERANCE
        return self.same_bits and self.decision == self.stored.decision.decision


async def replay_decision(decisions: DecisionStore, models: ModelStore, codec: LoanCodec, decision_id: UUID) -> Replay:
    """Raises UnknownDecision, DecisionNotKept, UnknownVersion; BundleCorrupt where the stored bundle has changed."""
    stored = await decisions.fetch_decision(decision_id)
    if stored is None:
        raise UnknownDecision(decision_id)
    model = await models.fetch_model(stored.decision.version)
    return await asyncio.to_thread(_scored_again, stored, model, codec)


def _scored_again(stored: StoredDecision, model: StoredModel, codec: LoanCodec) -> Replay:
    bundle = unpack(model.bundle, model.bundle_sha256.hex(), version=model.version)
    scorer = Scorer(bundle)
    try:
        (probability,) = scorer.score_features([codec.decode_features(stored.decision.features)]).tolist()
    finally:
        scorer.close()
    declined = probability >= bundle.manifest.threshold
    return Replay(stored, probability, "decline" if declined else "approve", engine())
