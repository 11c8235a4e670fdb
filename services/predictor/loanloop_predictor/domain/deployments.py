"""Which deployment a replica should serve. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Deployment:
    """`version` is live in the portfolio's slot from `deployed_at` on, until one with a higher sequence."""

    deployment_seq: int
    version: str
    deployed_at: datetime


def is_newer(deployment_seq: int, applied: int | None) -> bool:
    """An older `model.deployed`, however late it comes, changes nothing."""
    return applied is None or deployment_seq > applied


def to_apply(newest_first: Sequence[Deployment], applied: int | None, refused: Collection[int]) -> Deployment | None:
    """The newest deployment that is newer than the applied one and was not refused here before.

    A replica that starts while the live bundle is refused falls back to the one that the others still serve.
    """
    for deployment in newest_first:
        if not is_newer(deployment.deployment_seq, applied):
            return None
        if deployment.deployment_seq not in refused:
            return deployment
    return None
