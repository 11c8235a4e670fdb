"""Many versions from one training: with another slope the same loan gets another probability."""

from dataclasses import replace

from loanloop_common.bundle import ReferenceRows, pack, unpack
from loanloop_common.scoring import Scorer

from tests.support.bundles import make_bundle


def make_version(version: str, *, slope: float = 1.0, portfolio: str = "sba") -> bytes:
    trained = unpack(make_bundle(portfolio))
    calibration = trained.manifest.calibration.model_copy(update={"slope": slope})
    manifest = trained.manifest.model_copy(update={"version": version, "calibration": calibration})
    rows = manifest.reference.batch()
    scorer = Scorer(replace(trained, manifest=manifest))
    reference = ReferenceRows.of(rows, scorer.score(rows))
    scorer.close()
    return pack(manifest.model_copy(update={"reference": reference}), trained.encoder, trained.model)
