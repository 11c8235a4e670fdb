"""`bench/breach_rule.py` asks the rule that the portfolio has, of loans whose end is known."""

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loanloop_common.portfolio_file import load_portfolio
from loanloop_evaluator.domain.rolling import decided_outcomes

from bench.breach_rule import Loans, by_quarter, options_of, read_loans
from bench.loans import OutcomesMissing

PORTFOLIO = load_portfolio("sba")
UNTIL = date(2008, 11, 30)


def a_file(folder: Path, outcomes: dict[date, bool | None]) -> Path:
    columns = {name: [None] * len(outcomes) for name in PORTFOLIO.features}
    approved = pa.array([*outcomes], pa.date32())
    defaulted = pa.array([*outcomes.values()], pa.bool_())
    path = folder / "loans.parquet"
    pq.write_table(pa.table({"approved_at": approved, "defaulted": defaulted, **columns}), path)
    return path


def test_without_options_the_rule_is_the_policys() -> None:
    policy = PORTFOLIO.policy.model_copy(update={"confidence": 0.7, "breach_days": 5})

    options = options_of(policy, ["loans.parquet"])

    assert (options.confidence, options.days) == ([0.7], [5])


def test_loans_are_taken_by_their_approval_with_their_outcomes(tmp_path: Path) -> None:
    path = a_file(
        tmp_path,
        {date(2005, 3, 1): True, date(2003, 1, 1): False, date(2001, 1, 1): None, date(2004, 12, 31): True},
    )

    loans = Loans(read_loans(path, PORTFOLIO, UNTIL), PORTFOLIO)

    assert loans.defaulted.tolist() == [False, True, True]
    assert loans.n_train == 2


def test_a_loan_without_an_outcome_is_refused_and_not_read_as_repaid(tmp_path: Path) -> None:
    path = a_file(tmp_path, {date(2003, 1, 1): False, date(2005, 1, 1): None})

    with pytest.raises(OutcomesMissing, match=r"the column defaulted is empty in 1 of 2 rows"):
        read_loans(path, PORTFOLIO, UNTIL)


def test_a_quarter_has_the_loans_that_were_approved_in_it_whenever_they_matured() -> None:
    matures_in = timedelta(days=45)
    approved = {date(2005, 3, 31): (True, True), date(2005, 4, 1): (True, False), date(2005, 6, 30): (False, False)}
    outcomes = decided_outcomes([(day + matures_in, 0.5, *both) for day, both in approved.items()])

    assert by_quarter(outcomes, date(2005, 6, 30) + matures_in, matures_in) == {"2005Q1": 1.0, "2005Q2": 0.0}


def test_a_quarter_in_which_f1_is_undefined_has_none_and_not_zero() -> None:
    outcomes = decided_outcomes([(date(2005, 2, 20), 0.1, False, False)])

    assert by_quarter(outcomes, date(2005, 2, 28), timedelta(days=30)) == {"2005Q1": None}
