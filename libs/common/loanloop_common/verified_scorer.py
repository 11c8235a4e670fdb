"""The one way from a stored bundle to a scorer, for whoever serves, judges or replays: what one refuses all refuse."""

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from loanloop_common.bundle import Bundle, unpack
from loanloop_common.errors import BundleCorrupt
from loanloop_common.features import Encoder, Floats
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Derived, Portfolio
from loanloop_common.scoring import CHUNK_ROWS, FEW_ROWS, Scorer, failure

# A chunk of few rows filled up, a large one filled up, a whole one, two and a lone row.
BATCHES = (FEW_ROWS - 3, CHUNK_ROWS - 3, CHUNK_ROWS, 2 * CHUNK_ROWS + 1)


def load_verified(data: bytes, sha256: bytes, *, version: str, portfolio: Portfolio, threads: int = 1) -> Scorer:
    """A scorer that has shown that it is the version's, fits the portfolio's loans and scores as it must.

    CPU-bound: call it in a thread. Raises BundleCorrupt where it can never be served, Unavailable where it can't for
    now.
    """
    bundle = unpack(data, sha256.hex(), version=version)
    if fault := misfit(bundle, version, portfolio):
        raise BundleCorrupt(version, fault)
    scorer = Scorer(bundle, threads=threads)
    try:
        scorer.self_test()
        if fault := fault_of(partial(_scored, scorer), LoanCodec(portfolio)):
            raise BundleCorrupt(version, fault)
    except BaseException:
        scorer.close()
        raise
    return scorer


def _scored(scorer: Scorer, features: Sequence[Any]) -> Floats:
    try:
        return scorer.score_features(features)
    except Exception as error:
        raise failure(scorer.bundle, "score a loan", error) from error


def misfit(bundle: Bundle, version: str, portfolio: Portfolio) -> str | None:
    """Why a bundle is not the version that it is stored as, for the portfolio's loans. None where it is."""
    manifest = bundle.manifest
    if manifest.version != version:
        return f"the bundle is of version {manifest.version}"
    if manifest.portfolio != portfolio.name:
        return f"the bundle is for portfolio {manifest.portfolio}, not for {portfolio.name}"
    if manifest.schema_hash != portfolio.schema_hash:
        return f"the bundle was trained on other features than portfolio {portfolio.name} has"
    if not _reads(bundle.encoder, portfolio):
        return f"the bundle's encoder reads other features than portfolio {portfolio.name} has"
    return None


def _reads(encoder: Encoder, portfolio: Portfolio) -> bool:
    """Whether its inputs are the portfolio's, each of the same kind, and computed alike."""
    parts = [portfolio.features.get(name) or portfolio.derived[name] for name in portfolio.model_inputs]
    return (
        [part.name for part in encoder.categories] == [part.name for part in parts if part.kind != "number"]
        and [part.name for part in encoder.numbers] == [part.name for part in parts if part.kind == "number"]
        and list(encoder.derived) == [part for part in parts if isinstance(part, Derived)]
    )


def fault_of(score: Callable[[Sequence[Any]], Iterable[float]], codec: LoanCodec) -> str | None:
    """Why a model may not serve: a probability that is none, or one that depends on the batch. None where it may."""
    example = codec.decode_features(msgspec.json.encode(codec.example()["features"]))
    alone = float(next(iter(score([example]))))
    if not (math.isfinite(alone) and 0.0 <= alone <= 1.0):
        return f"self-test: {alone} is no probability"
    for n_rows in BATCHES:
        if any(not same_bits(alone, float(other)) for other in score([example] * n_rows)):
            return f"self-test: the same loan scores differently in a batch of {n_rows}"
    return None


def same_bits(one: float, other: float) -> bool:
    return struct.pack(">d", one) == struct.pack(">d", other)
