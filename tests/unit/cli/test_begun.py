"""A data folder stays with what it was begun with, and says what differs."""

from typing import Any

import pytest
from loanloop.runtime.begun import begun_with, refuse_other
from loanloop.runtime.problems import CannotRun
from loanloop_common.portfolio import Portfolio
from loanloop_common.portfolio_file import load_portfolio

SBA = load_portfolio("sba")
FILE = "/home/me/mine.toml"


def changed(**features: dict[str, Any] | None) -> Portfolio:
    """`sba` with features added, replaced, or, for None, taken away."""
    raw = SBA.model_dump()
    merged = raw["features"] | {name: part and {"name": name, **part} for name, part in features.items()}
    return Portfolio.model_validate(raw | {"features": {name: part for name, part in merged.items() if part}})


def refusal(chosen: Portfolio, source: str = "/home/me/mine2.toml") -> str:
    with pytest.raises(CannotRun) as refused:
        refuse_other(begun_with(SBA, FILE), chosen, source)
    return str(refused.value)


def test_the_same_features_are_accepted_from_any_file() -> None:
    refuse_other(begun_with(SBA, FILE), changed(), "/elsewhere/copy.toml")


def test_features_that_differ_are_named_and_the_first_file_too() -> None:
    said = refusal(changed(region={"kind": "category"}, franchise=None, employees={"kind": "number"}))

    assert "added: region; gone: franchise; changed: employees" in said
    assert f"start with --portfolio {FILE}" in said


def test_a_feature_added_in_the_file_itself_is_to_be_taken_out_again() -> None:
    said = refusal(changed(region={"kind": "category"}), FILE)

    assert "(added: region): restore the portfolio file" in said


def test_another_portfolio_is_told_the_file_to_start_with() -> None:
    said = refusal(load_portfolio("sba_application"), "sba_application")

    assert "serves the portfolio sba, not sba_application" in said
    assert f"start with --portfolio {FILE}" in said
