"""The split by time holds for any loans, in any order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loanloop_trainer.domain.split import TooFewDays, split_by_day

minutes = st.lists(st.integers(0, 60 * 24 * 40), min_size=2, max_size=200)
shares = st.floats(0.01, 0.49)


def moments(offsets: list[int]) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return np.datetime64("2005-01-01", "us") + np.array(offsets) * np.timedelta64(1, "m")


@given(minutes, shares, st.randoms())
def test_each_loan_is_in_one_part_whatever_the_order_of_the_rows(offsets, share, chance) -> None:  # type: ignore[no-untyped-def]
    shuffled = [*range(len(offsets))]
    chance.shuffle(shuffled)
    occurred_at = moments(offsets)
    try:
        split = split_by_day(occurred_at, validation_share=share)
    except TooFewDays:
        return

    again = split_by_day(occurred_at[shuffled], validation_share=share)

    assert (split.train ^ split.validation).all()
    assert (again.validation == split.validation[shuffled]).all()


@given(minutes, shares)
def test_every_validation_day_comes_after_every_training_day(offsets, share) -> None:  # type: ignore[no-untyped-def]
    occurred_at = moments(offsets)
    try:
        split = split_by_day(occurred_at, validation_share=share)
    except TooFewDays:
        return

    days = occurred_at.astype("datetime64[D]")
    assert days[split.train].max() < days[split.validation].min()
    assert split.validation.mean() >= share - 1 / len(offsets)
