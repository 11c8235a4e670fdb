"""What a stored bundle must show before anyone serves it, judges it or replays with it."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from loanloop_common.bundle import Manifest, pack, unpack
from loanloop_common.errors import BundleCorrupt
from loanloop_common.features import Floats
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.scoring import Scorer
from loanloop_common.verified_scorer import fault_of, load_verified

from tests.support.bundles import make_bundle

PORTFOLIO = load_portfolio("sba")
CODEC = LoanCodec(PORTFOLIO)


def bundle_with(**changes: Any) -> bytes:
    bundle = unpack(make_bundle())
    return pack(bundle.manifest.model_copy(update=changes), bundle.encoder, bundle.model)


def lying_reference() -> Any:
    manifest: Manifest = unpack(make_bundle()).manifest
    wrong = [p * 0.9 for p in manifest.reference.probabilities]
    return manifest.reference.model_copy(update={"probabilities": wrong})


def loaded(data: bytes, *, sha256: bytes | None = None) -> Scorer:
    return load_verified(data, sha256 or hashlib.sha256(data).digest(), version="v1", portfolio=PORTFOLIO, threads=2)


def test_the_trainers_bundle_scores() -> None:
    scorer = loaded(make_bundle())

    (probability,) = scorer.score_features([CODEC.convert(CODEC.example()).features])

    assert 0 < probability < 1
    scorer.close()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda: make_bundle()[:5000], "cut short"),
        (lambda: bundle_with(version="v2"), "of version v2"),
        (lambda: bundle_with(portfolio="cars"), "for portfolio cars"),
        (lambda: bundle_with(schema_hash="x"), "other features"),
        (lambda: bundle_with(reference=lying_reference()), "reference rows .* off"),
    ],
)
def test_a_bundle_that_is_not_what_it_is_stored_as_is_refused(data: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(BundleCorrupt, match=reason):
        loaded(data())


def test_other_bytes_than_those_that_were_stored_are_refused() -> None:
    with pytest.raises(BundleCorrupt, match="SHA-256"):
        loaded(make_bundle(), sha256=bytes(32))


def alike(rows: Sequence[Any]) -> Floats:
    return np.full(len(rows), 0.25)


def by_size(rows: Sequence[Any]) -> Floats:
    return np.full(len(rows), 0.25 if len(rows) < 257 else np.nextafter(0.25, 1))


def by_place(rows: Sequence[Any]) -> Floats:
    return np.where(np.arange(len(rows)) == 127, 0.5, 0.25)


@pytest.mark.parametrize(
    ("score", "fault"),
    [
        (by_size, "batch of 257"),
        (by_place, "batch of 128"),
        (lambda rows: np.full(len(rows), np.nan), "nan is no probability"),
        (lambda rows: np.full(len(rows), 1.5), "1.5 is no probability"),
    ],
)
def test_a_score_that_is_no_probability_or_depends_on_the_batch_is_a_fault(
    score: Callable[[Sequence[Any]], Floats], fault: str
) -> None:
    assert fault_of(alike, CODEC) is None
    assert fault in (fault_of(score, CODEC) or "")
