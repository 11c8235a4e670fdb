"""Real bundles without a training: the full network with weights from a seed, exported as the trainer does."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import torch
from loanloop_common.bundle import Calibration, ReferenceRows, pack, unpack
from loanloop_common.features import columns_of
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Portfolio, load_portfolio
from loanloop_common.scoring import Scorer
from loanloop_trainer.model.encoding import fit_encoder
from loanloop_trainer.model.export import export
from loanloop_trainer.model.tabtransformer import TabTransformer
from loanloop_trainer.model.training import TrainedModel

from tests.support.loans import as_bytes, make_loan

N_ROWS = 400


def make_bundle(version: str, *, portfolio: str = "sba", slope: float = 1.0, threshold: float = 0.5) -> bytes:
    """Versions with another `slope` give the same loan another probability."""
    first = unpack(_exported(portfolio))
    calibration = Calibration(slope=slope, intercept=0.0)
    manifest = first.manifest.model_copy(
        update={"version": version, "calibration": calibration, "threshold": threshold}
    )
    changed = replace(first, manifest=manifest)
    rows = manifest.reference.batch()
    scorer = Scorer(changed)
    reference = ReferenceRows.of(rows, scorer.score(rows))
    scorer.close()
    return pack(manifest.model_copy(update={"reference": reference}), first.encoder, first.model)


@cache
def _exported(portfolio_name: str) -> bytes:
    portfolio = load_portfolio(portfolio_name)
    codec = LoanCodec(portfolio)
    loans = [codec.decode(as_bytes(make_loan(number))) for number in range(N_ROWS)]
    columns = columns_of(loans, portfolio.features)
    encoder = fit_encoder(portfolio, columns)
    day = datetime(2006, 1, 1, tzinfo=UTC)
    trained = TrainedModel(
        network=_network(portfolio, [c.n_ids for c in encoder.categories], [n.n_ids for n in encoder.numbers]),
        encoder=encoder,
        portfolio=portfolio,
        seed=1,
        calibration=Calibration(slope=1.0, intercept=0.0),
        threshold=0.5,
        metrics={"f1": 0.8, "roc_auc": 0.9},
        audit=[],
        validation=encoder.encode_columns(columns),
        train_from=day,
        train_to=day,
        n_train=N_ROWS,
        n_validation=0,
    )
    return export(trained, version="v1", code_version="test")


def _network(portfolio: Portfolio, category_ids: list[int], exact_ids: list[int]) -> TabTransformer:
    torch.manual_seed(1)
    model = portfolio.model
    return TabTransformer(
        category_ids=category_ids,
        exact_ids=exact_ids,
        d_model=model.d_model,
        n_layers=model.n_layers,
        n_heads=model.n_heads,
        d_feedforward=model.d_feedforward,
        dropout=model.dropout,
        embedding_std=model.embedding_std,
    )
