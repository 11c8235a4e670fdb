"""Which deployment a replica serves."""

from datetime import UTC, datetime

import pytest
from loanloop_predictor.domain.deployments import Deployment, is_newer, to_apply

NEWEST_FIRST = [Deployment(seq, f"v{seq}", datetime(2020, 1, seq, tzinfo=UTC)) for seq in (4, 3, 2, 1)]


@pytest.mark.parametrize(
    ("applied", "refused", "expected"),
    [
        (None, set(), 4),
        (None, {4}, 3),
        (None, {4, 3, 2, 1}, None),
        (3, set(), 4),
        (3, {4}, None),
        (2, {4}, 3),
        (4, set(), None),
        (5, set(), None),
    ],
)
def test_newest_servable_deployment_is_applied(applied: int | None, refused: set[int], expected: int | None) -> None:
    chosen = to_apply(NEWEST_FIRST, applied, refused)
    assert (chosen and chosen.deployment_seq) == expected


def test_same_or_older_sequence_is_not_newer() -> None:
    assert [is_newer(seq, 3) for seq in (2, 3, 4)] == [False, False, True]
    assert is_newer(1, None)
