"""What a training gives, before it is exported."""

from dataclasses import dataclass
from datetime import datetime

from loanloop_common.bundle import Calibration
from loanloop_common.features import EncodedBatch, Encoder, Floats
from loanloop_common.portfolio import Portfolio

from loanloop_trainer.domain.audit import Finding
from loanloop_trainer.model.ensemble import Ensemble
from loanloop_trainer.model.tabtransformer import TabTransformer


@dataclass(frozen=True)
class HeldOut:
    """(B,) log-odds of the validation loans, by models that had not learnt from them."""

    network: Floats
    trees: Floats | None = None
    ensemble: Floats | None = None

    @property
    def decisive(self) -> Floats:
        """Of the model that is served."""
        return self.network if self.ensemble is None else self.ensemble


@dataclass(frozen=True)
class TrainedModel:
    """A network, with the trees beside it if there are any, and all that its bundle says about it.

    `metrics`, calibration and threshold rest on `held_out`: what each model said of the validation loans before it
    learnt these as well.
    """

    network: TabTransformer
    encoder: Encoder
    portfolio: Portfolio
    seed: int
    calibration: Calibration
    threshold: float
    metrics: dict[str, float | None]
    audit: list[Finding]
    validation: EncodedBatch
    held_out: HeldOut
    train_from: datetime
    train_to: datetime
    n_train: int
    n_validation: int
    ensemble: Ensemble | None = None
