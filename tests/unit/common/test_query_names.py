"""Statements are named after the constants that they stand in."""

import ast
from pathlib import Path

import pytest
from loanloop_common import outbox
from loanloop_common.query_names import query_name
from loanloop_predictor.store import decisions, requested

ROOT = Path(__file__).parents[3]
PACKAGES = ("libs/common/loanloop_common", "services")


def test_statement_has_its_modules_and_its_constants_name() -> None:
    assert query_name(decisions.CLAIM_EVENTS) == "decisions.claim_events"
    assert query_name(requested.DECIDE_REQUESTED) == "requested.decide_requested"
    assert query_name(outbox.TRY_LOCK) == "outbox.try_lock"


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("BEGIN;", "begin"),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ;", "begin"),
        ("COMMIT;", "commit"),
        ("ROLLBACK;", "rollback"),
        ("SELECT 1", "other"),
        ("", "other"),
    ],
)
def test_any_other_is_named_by_what_it_does_to_a_transaction(statement: str, name: str) -> None:
    assert query_name(statement) == name


def test_statements_made_on_the_way_cost_no_memory() -> None:
    assert {query_name(f"SELECT {n}") for n in range(5000)} == {"other"}


def test_every_statement_of_a_service_is_a_constant() -> None:
    """Or its figures would be found under `other`."""
    inline = {
        f"{path.relative_to(ROOT)}:{constant.lineno}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for constant in ast.walk(function)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str) and is_statement(constant.value)
    }

    assert inline == set()


def is_statement(text: str) -> bool:
    return text.lstrip().startswith(("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH ")) and "loan_data." in text
