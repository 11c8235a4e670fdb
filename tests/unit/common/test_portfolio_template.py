"""portfolios/template.toml shows every key, and says truly what its default is."""

import tomllib
from typing import Any

import pytest
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Derived, Feature, FileMapping, ModelConfig, Policy, Portfolio
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.resources import resource_folder
from pydantic import BaseModel

TEMPLATE = resource_folder("portfolios") / "template.toml"
RAW: dict[str, Any] = tomllib.loads(TEMPLATE.read_text())


def shown(*tables: dict[str, Any]) -> set[str]:
    return {key for table in tables for key in table}


def test_template_is_a_portfolio_as_it_stands() -> None:
    portfolio = load_portfolio(TEMPLATE)

    assert portfolio.model_inputs == ("amount", "purpose", "purchase_price", "financed_share")
    LoanCodec(portfolio).example()


@pytest.mark.parametrize(
    ("model", "keys", "not_in_a_file"),
    [
        (Portfolio, shown(RAW), set()),
        (FileMapping, shown(RAW["file"]), set()),
        (Feature, shown(*RAW["features"].values()), {"name"}),
        (Derived, shown(*RAW["derived"].values()), {"name", "length"}),
        (Policy, shown(RAW["policy"]), set()),
        (ModelConfig, shown(RAW["model"]), set()),
    ],
)
def test_template_shows_every_key(model: type[BaseModel], keys: set[str], not_in_a_file: set[str]) -> None:
    assert keys == set(model.model_fields) - not_in_a_file


def test_policy_and_hyperparameters_of_the_template_are_the_defaults() -> None:
    assert RAW["policy"] == Policy(maturity_days=365).model_dump()
    assert RAW["model"] == ModelConfig().model_dump()


def test_a_preset_is_not_made_of_the_template() -> None:
    assert TEMPLATE.stem not in {path.stem for path in resource_folder("portfolios").glob("*/*.toml")}
