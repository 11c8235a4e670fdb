"""Any portfolio gets loans that it accepts, and a policy that a model of them passes."""

import json
from pathlib import Path

import pytest
from loanloop.testing.throwaway_model import made_up_history, made_up_loan, write_easy_portfolio
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.resources import resource_folder

ODD = """
name = "odd"
[features.below_zero]
kind = "number"
minimum = -9
maximum = -5
[features.below_zero_example]
kind = "number"
example = -70
[features.one_whole_number]
kind = "number"
integer = true
minimum = 0.5
maximum = 1.5
[features.whole_numbers_below_zero]
kind = "number"
integer = true
minimum = -3.5
maximum = -1.5
[features.any_number]
kind = "number"
[features.one_letter]
kind = "category"
max_length = 1
[features.closed]
kind = "category"
closed = true
categories = ["x", "y"]
[features.flag]
kind = "flag"
[policy]
maturity_days = 100
"""


@pytest.fixture(params=["sba", "sba_application", "template", "odd"])
def portfolio(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "template":
        return str(resource_folder("portfolios") / "template.toml")
    if request.param == "odd":
        odd = tmp_path / "odd.toml"
        odd.write_text(ODD)
        return str(odd)
    return str(request.param)


def easy_one(portfolio: str, folder: Path) -> Portfolio:
    return load_portfolio(write_easy_portfolio(portfolio, folder))


def test_made_up_loans_are_valid_and_stay_the_same(portfolio: str) -> None:
    chosen = load_portfolio(portfolio)
    codec = LoanCodec(chosen)

    for number in range(200):
        loan = made_up_loan(chosen, number)
        assert codec.decode(json.dumps(loan).encode()).loan_id == loan["loan_id"]
        assert loan == made_up_loan(chosen, number)


def test_history_starts_a_training_and_has_both_ends_in_every_part(portfolio: str, tmp_path: Path) -> None:
    easy = easy_one(portfolio, tmp_path)
    codec = LoanCodec(easy)

    ends = [codec.decode(json.dumps(loan).encode()).outcome for loan in made_up_history(easy)]

    assert len(ends) - easy.policy.min_outcomes >= easy.policy.first_labels
    newest = ends[-easy.policy.gate_min_loans :]
    assert {end.defaulted for end in newest if end} == {True, False}


def test_the_easy_portfolio_accepts_and_refuses_what_the_own_one_does(portfolio: str, tmp_path: Path) -> None:
    own, easy = load_portfolio(portfolio), easy_one(portfolio, tmp_path)

    assert easy.features == own.features
    assert (easy.name, easy.schema_hash) == (own.name, own.schema_hash)
