"""What a benchmark that trains says: each line with the number of its fit, and no warning of the trainer between."""

from pathlib import Path

import pytest
import structlog
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.resources import SAMPLE

from bench.fits import KeptFits
from bench.loans import SPLITS, LoanFile
from bench.saying import Counted, only_errors_logged
from bench.trials import Trial, Trials


def test_a_fit_is_said_with_its_number_among_all_also_behind_one_that_was_kept(tmp_path: Path) -> None:
    said: list[str] = []
    counted, portfolio = Counted(said.append, n_fits=3), load_portfolio("sba_application")
    trials = Trials(LoanFile(SAMPLE, portfolio), KeptFits(tmp_path), counted)
    once, other = (Trial(portfolio, SPLITS[4], "logistic regression", seed, 300) for seed in (0, 1))

    for trial in (once, once, other):
        counted.fit(trials, trial)

    assert [line.split(", ")[0] for line in said] == [f"{n} of 3: sba_application {SPLITS[4]}" for n in (1, 3)]


def test_warnings_are_not_printed_among_a_benchmarks_lines_and_are_again_behind_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with only_errors_logged():
        structlog.get_logger().warning("leak_suspected")
        structlog.get_logger().error("went_wrong")
    structlog.get_logger().warning("after_it")

    printed = capsys.readouterr().out
    assert "leak_suspected" not in printed
    assert "went_wrong" in printed
    assert "after_it" in printed
