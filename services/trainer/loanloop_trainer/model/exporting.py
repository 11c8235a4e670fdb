"""From a trained network to a bundle: ONNX, parity with torch on real loans, manifest."""

import logging
import warnings

import numpy as np
import sklearn
import torch
from loanloop_common.bundle import AllowedField, AuditFinding, Bundle, Manifest, ReferenceRows, pack
from loanloop_common.errors import LoanloopError
from loanloop_common.portfolio import Portfolio
from loanloop_common.scoring import Scorer, instruction_set, runtime_version
from torch import Tensor, hub, nn

from loanloop_trainer.domain.audit import Finding
from loanloop_trainer.domain.search_space import FROM_FILE
from loanloop_trainer.model.ensemble import EnsembleForm
from loanloop_trainer.model.loans import inputs_of
from loanloop_trainer.model.phases import log_odds
from loanloop_trainer.model.progress import OnProgress, Progress
from loanloop_trainer.model.serving_form import ServingForm
from loanloop_trainer.model.trained import TrainedModel
from loanloop_trainer.model.workers import Workers

PARITY = 1e-4
PARITY_ROWS = 1000
REFERENCE_ROWS = 16

# torch makes a progress bar for each pass over a graph, shown or not, and the first one would leave a thread behind.
hub.tqdm.monitor_interval = 0  # type: ignore[attr-defined]


class ParityBroken(LoanloopError):
    """The export does not compute what the trained network computes; it must not be served."""

    def __init__(self, difference: float) -> None:
        super().__init__(
            f"exported log-odds differ from the trained model's by {difference:.2g}, at most {PARITY:.0e} is allowed"
        )


def export(
    trained: TrainedModel,
    *,
    version: str,
    code_version: str,
    hyperparameters_from: str = FROM_FILE,
    on_progress: OnProgress = lambda _: None,
) -> bytes:
    """The packed bundle. Raises ParityBroken."""
    on_progress(Progress("export"))
    real_loans = trained.validation.rows(slice(0, PARITY_ROWS))
    model = onnx_of(serving_form(trained), inputs_of(trained.validation.rows(slice(0, 4)), torch.device("cpu")))
    draft = _manifest(trained, version=version, code_version=code_version).model_copy(
        update={"hyperparameters_from": hyperparameters_from}
    )
    scorer = Scorer(Bundle(draft, trained.encoder, model, sha256=""))
    try:
        with Workers(1) as workers:
            as_trained = log_odds(trained.network, real_loans, workers)
        if trained.ensemble is not None:
            as_trained = trained.ensemble.log_odds(as_trained, real_loans)
        difference = float(np.abs(scorer.log_odds(real_loans) - as_trained).max())
        if not difference <= PARITY:
            raise ParityBroken(difference)
        few = real_loans.rows(slice(0, REFERENCE_ROWS))
        reference = ReferenceRows.of(few, scorer.score(few))
    finally:
        scorer.close()
    manifest = draft.model_copy(update={"parity": difference, "reference": reference})
    return pack(manifest, trained.encoder, model)


def serving_form(trained: TrainedModel) -> nn.Module:
    """What is exported: logits (B, 2) from the encoder's arrays, whatever kind of model it is."""
    network = ServingForm(trained.network)
    return network if trained.ensemble is None else EnsembleForm(network, trained.ensemble)


def onnx_of(network: nn.Module, example: tuple[Tensor, Tensor, Tensor]) -> bytes:
    """A graph that takes any number of rows."""
    rows = torch.export.Dim.DYNAMIC
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)  # it warns of torchvision, which nothing here uses
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network.eval(),
                example,
                input_names=["x_cat", "x_num", "x_exact"],
                output_names=["logits"],
                dynamic_shapes=({0: rows}, {0: rows}, {0: rows}),
                dynamo=True,
                verbose=False,
            )
    finally:
        exporter_log.setLevel(level)
    assert program is not None
    content: bytes = program.model_proto.SerializeToString(deterministic=True)
    return content


def _manifest(trained: TrainedModel, *, version: str, code_version: str) -> Manifest:
    portfolio = trained.portfolio
    return Manifest(
        version=version,
        portfolio=portfolio.name,
        schema_hash=portfolio.schema_hash,
        features=portfolio.model_inputs,
        train_from=trained.train_from,
        train_to=trained.train_to,
        n_rows=trained.n_train + trained.n_validation,
        n_train=trained.n_train,
        n_validation=trained.n_validation,
        threshold=trained.threshold,
        calibration=trained.calibration,
        metric=portfolio.policy.metric,
        metrics=trained.metrics,
        seed=trained.seed,
        kind=portfolio.model.kind,
        weights={} if trained.ensemble is None else trained.ensemble.weights,
        hyperparameters=portfolio.model.model_dump(mode="json"),
        allowed=tuple(AllowedField(field=field, reason=reason) for field, reason in portfolio.warnings),
        audit=tuple(_finding_of(finding, portfolio) for finding in trained.audit),
        code_version=code_version,
        runtime={
            "openvino": runtime_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "instruction_set": instruction_set(),
        },
        parity=0.0,
        reference=ReferenceRows(x_cat=[], x_num=[], x_exact=[], probabilities=[]),
    )


def _finding_of(finding: Finding, portfolio: Portfolio) -> AuditFinding:
    used = finding.feature in portfolio.model_inputs
    return AuditFinding(feature=finding.feature, roc_auc=finding.roc_auc, used=used, warning=finding.warning)
