"""What a freshly loaded version must show before it may serve. Pure."""

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from loanloop_common.bundle import Manifest
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Portfolio

BATCHES = (3, 128, 257)  # a part of a chunk, a whole one, two and a lone row


def misfit(manifest: Manifest, version: str, portfolio: Portfolio) -> str | None:
    """Why a bundle is not the version it was deployed as, for the loans that arrive here. None where it is."""
    if manifest.version != version:
        return f"the bundle is of version {manifest.version}"
    if manifest.portfolio != portfolio.name:
        return f"the bundle is for portfolio {manifest.portfolio}, this service serves {portfolio.name}"
    if manifest.schema_hash != portfolio.schema_hash:
        return f"the bundle was trained on other features than portfolio {portfolio.name} has"
    return None


def fault_of(score: Callable[[Sequence[Any]], Iterable[float]], codec: LoanCodec) -> str | None:
    """Why it may not: a probability that is none, or one that depends on the batch. None where it may."""
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
