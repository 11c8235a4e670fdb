"""A stored decision once more: its own features, by its own version's bundle."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from loanloop_common.errors import LoanloopError
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Portfolio
from loanloop_common.scoring import ELSEWHERE_TOLERANCE, engine
from loanloop_common.verified_scorer import load_verified, same_bits

from loanloop_predictor.domain.deciding import credit_decision
from loanloop_predictor.domain.decisions import CreditDecision, StoredDecision
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


async def replay_decision(
    decisions: DecisionStore, models: ModelStore, portfolio: Portfolio, decision_id: UUID
) -> Replay:
    """Raises UnknownDecision, DecisionNotKept, UnknownVersion; BundleCorrupt where the stored bundle has changed."""
    stored = await decisions.fetch_decision(decision_id)
    if stored is None:
        raise UnknownDecision(decision_id)
    model = await models.fetch_model(stored.decision.version)
    return await asyncio.to_thread(_scored_again, stored, model, portfolio)


def _scored_again(stored: StoredDecision, model: StoredModel, portfolio: Portfolio) -> Replay:
    features = LoanCodec(portfolio).decode_features(stored.decision.features)
    scorer = load_verified(model.bundle, model.bundle_sha256, version=model.version, portfolio=portfolio)
    try:
        (probability,) = scorer.score_features([features]).tolist()
    finally:
        scorer.close()
    return Replay(stored, probability, credit_decision(probability, scorer.bundle.manifest.threshold), engine())
