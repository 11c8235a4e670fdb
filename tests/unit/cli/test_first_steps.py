"""The lines to paste hold a loan that the services take, whatever the portfolio file leaves out."""

from pathlib import Path

from loanloop.runtime.first_steps import example_loan, what_follows
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio

WITHOUT_EXAMPLES = """
name = "cars"
[features.income]
kind = "number"
integer = true
minimum = 1
[features.make]
kind = "category"
categories = ["estate", "coupe"]
closed = true
[features.leased]
kind = "flag"
[policy]
maturity_days = 30
"""


def test_a_portfolio_without_examples_gets_a_valid_loan_and_each_time_another(tmp_path: Path) -> None:
    (tmp_path / "cars.toml").write_text(WITHOUT_EXAMPLES)
    portfolio = load_portfolio(tmp_path / "cars.toml")

    first, second = (LoanCodec(portfolio).decode(example_loan(portfolio).encode()) for _ in range(2))

    assert first.features.make == "estate"
    assert first.event_id != second.event_id
    assert first.loan_id != second.loan_id


def test_what_the_lines_lead_to_is_said_as_it_is_before_and_after_the_first_model() -> None:
    sba = load_portfolio("sba")

    assert what_follows(sba, None) == ("the first 30,000 start a training", "503 until a model is live")
    assert what_follows(sba, "v2") == (f"{sba.policy.new_labels:,} new ones start a training", "v2 is live")
