"""A version, frozen, beside the one that took its place, on the same loans: what retraining was worth."""

from collections.abc import Sequence

import asyncpg
import numpy as np
from loanloop_common.bundle import declines
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Portfolio
from loanloop_common.postgres import Connection
from loanloop_common.verified_scorer import load_verified
from loanloop_evaluator.store.deployments import StoredBundle, fetch_bundle
from sklearn.metrics import f1_score, roc_auc_score

from loanloop.demo.checks import SideBySide
from loanloop.demo.queries import fetch_decided_outcomes


async def side_by_side(connection: Connection, portfolio: Portfolio, *, frozen: str, live: str) -> SideBySide | None:
    """None where too little is known: fewer than 50 loans, or of one class alone."""
    rows = await fetch_decided_outcomes(connection, live)
    defaulted = np.array([row["defaulted"] for row in rows], dtype=bool)
    if len(rows) < 50 or defaulted.all() or not defaulted.any():
        return None
    scores, threshold = _scores(await fetch_bundle(connection, frozen), portfolio, rows)
    live_scores = np.array([row["probability"] for row in rows])
    declined = np.array([row["declined"] for row in rows], dtype=bool)
    return SideBySide(
        frozen=frozen,
        live=live,
        n_loans=len(rows),
        first=rows[0]["occurred_at"],
        last=rows[-1]["occurred_at"],
        frozen_f1=float(f1_score(defaulted, declines(scores, threshold))),
        live_f1=float(f1_score(defaulted, declined)),
        frozen_roc_auc=float(roc_auc_score(defaulted, scores)),
        live_roc_auc=float(roc_auc_score(defaulted, live_scores)),
    )


def _scores(
    stored: StoredBundle, portfolio: Portfolio, rows: Sequence[asyncpg.Record]
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], float]:
    codec = LoanCodec(portfolio)
    scorer = load_verified(stored.data, stored.sha256, version=stored.version, portfolio=portfolio)
    try:
        features = [codec.decode_features(row["features"]) for row in rows]
        return scorer.score_features(features), scorer.bundle.manifest.threshold
    finally:
        scorer.close()
