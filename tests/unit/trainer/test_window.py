import pytest
from loanloop_common.portfolio import Policy
from loanloop_trainer.domain.window import gate_size

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
