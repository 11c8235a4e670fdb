"""An older loan counts less, by half for each half-life."""

import numpy as np
import pytest
from loanloop_trainer.domain.recency import recency_weights

TIMES = np.array(["2004-01-01", "2005-01-01", "2005-01-01", "2006-01-01"], "datetime64[us]")


def test_a_loan_older_by_the_half_life_counts_half() -> None:
    oldest, older, same, newest = recency_weights(TIMES, 365)

    assert older / newest == pytest.approx(0.5)
    assert same == older
    assert oldest / newest == pytest.approx(0.25, rel=0.01)  # 2004 has a day more


@pytest.mark.parametrize("half_life_days", [0, 1, 30, 365, 100_000])
def test_all_loans_together_count_as_many_as_they_are(half_life_days: int) -> None:
    assert recency_weights(TIMES, half_life_days).sum() == pytest.approx(len(TIMES), rel=1e-5)


def test_without_a_half_life_all_count_alike() -> None:
    assert recency_weights(TIMES, 0).tolist() == [1.0] * len(TIMES)
