import numpy as np
import pytest
from loanloop_common.portfolio import Policy
from loanloop_trainer.domain.window import gate_size, months_before, shortage

POLICY = Policy(maturity_days=0, gate_share=0.1, gate_min_loans=500)


@pytest.mark.parametrize(
    ("n_eligible", "left_out"),
    [
        (100_000, 10_000),
        (5_001, 501),
        (2_000, 500),
        (900, 450),
        (1, 1),
        (0, 0),
    ],
)
def test_gate_gets_its_share_and_enough_for_a_verdict_up_to_half(n_eligible: int, left_out: int) -> None:
    assert gate_size(n_eligible, POLICY) == left_out


@pytest.mark.parametrize(
    ("moment", "months", "before"),
    [
        ("2005-03-31T12:30:00.000001", 1, "2005-02-28T12:30:00.000001"),
        ("2005-02-28T00:00:00", 1, "2005-01-28T00:00:00"),
        ("2004-03-30T23:59:59", 1, "2004-02-29T23:59:59"),
        ("2004-02-29T06:00:00", 12, "2003-02-28T06:00:00"),
        ("2005-05-31T00:00:00", 36, "2002-05-31T00:00:00"),
        ("2005-01-31T00:00:00", 2, "2004-11-30T00:00:00"),
    ],
)
def test_months_before_a_moment_are_postgresql_s(moment: str, months: int, before: str) -> None:
    assert months_before(np.datetime64(moment, "us"), months) == np.datetime64(before, "us")


def test_loans_that_are_too_young_are_named_where_too_few_are_left_to_learn_from() -> None:
    assert shortage(100, 50) is None
    assert "send more outcomes" in (shortage(99, 50) or "")

    young = shortage(0, 0, n_young=300, maturity_days=365) or ""

    assert young.endswith(
        "send more outcomes, or loans whose occurred_at differ. 300 that are labelled do not count yet, for they are "
        "not 365 days old (maturity_days) by the newest outcomes: send those of older loans."
    )
