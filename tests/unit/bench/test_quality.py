"""What the benchmark `quality` compares: the same loans, later ones judged, nothing chosen on them."""

import math
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loanloop_common.bundle import Calibration
from loanloop_common.portfolio_file import load_portfolio
from loanloop_trainer.domain.calibration import fitted_on_validation

from bench.contenders import Fit, Task, logistic_regression
from bench.fits import KeptFits
from bench.judging import Verdict, reliability, verdict
from bench.loans import LoanFile, NoLoanFile, OutcomesMissing, Split
from bench.machine import machine
from bench.quality import DEFAULT, LONG, Judged, Size, goal_of, is_whole, notes
from bench.result import why_not_judged

PORTFOLIO = load_portfolio("sba")
N_LOANS = 400


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Two loans of three years in turn, defaults only among the loans of one state."""
    columns: dict[str, Any] = {f.name: [f.example] * N_LOANS for f in PORTFOLIO.features.values()}
    columns["state"] = ["CA", "TX"] * (N_LOANS // 2)
    columns["approved_at"] = [date(2001 + i * 3 // N_LOANS, 1 + i % 12, 1 + i % 28) for i in range(N_LOANS)]
    columns["defaulted"] = [i % 2 == 0 and i % 10 != 0 for i in range(N_LOANS)]
    return pa.table(columns)


@pytest.fixture(scope="module")
def loan_file(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> LoanFile:
    path = tmp_path_factory.mktemp("loans") / "loans.parquet"
    pq.write_table(table, path)
    return LoanFile(path, PORTFOLIO)


def made(roc_auc: float) -> Fit:
    half = reliability(np.array([0.5]), np.array([True]))
    return Fit(Verdict({"roc_auc": roc_auc}, half, half), train_s=1.0)


def test_a_split_needs_loans_of_each_of_its_years(loan_file: LoanFile) -> None:
    assert loan_file.covers(Split(2001, 2002, 2003))
    assert not loan_file.covers(Split(2000, 2002, 2003))
    assert not loan_file.covers(Split(2002, 2003, 2004))


@pytest.mark.parametrize("known", [[None, True, None, False], [math.nan, 1.0, math.nan, 0.0]])
def test_a_file_with_loans_whose_end_is_not_known_is_refused(
    table: pa.Table, known: list[bool | float | None], tmp_path: Path
) -> None:
    place = table.column_names.index("defaulted")
    pq.write_table(table.slice(0, 4).set_column(place, "defaulted", pa.array(known)), tmp_path / "mine")

    with pytest.raises(OutcomesMissing, match="mine: the column defaulted is empty in 2 of 4 rows"):
        LoanFile(tmp_path / "mine", PORTFOLIO)


def test_a_file_that_lacks_columns_is_refused_with_all_their_names(table: pa.Table, tmp_path: Path) -> None:
    pq.write_table(table.drop_columns(["state", "defaulted"]), tmp_path / "mine")

    with pytest.raises(NoLoanFile, match=r"mine: it has no column state, defaulted; portfolios"):
        LoanFile(tmp_path / "mine", PORTFOLIO)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("state,defaulted\nCA,1\n")

    with pytest.raises(NoLoanFile, match="mine: it can't be read as Parquet"):
        LoanFile(tmp_path / "mine", PORTFOLIO)


def test_loans_are_drawn_by_seed_from_their_years_alone(loan_file: LoanFile) -> None:
    window = loan_file.years(2001, 2002)
    drawn = loan_file.drawn(window, 50, seed=1)

    assert drawn.sum() == 50
    assert not (drawn & ~window).any()
    assert (drawn == loan_file.drawn(window, 50, seed=1)).all()
    assert (drawn != loan_file.drawn(window, 50, seed=2)).any()
    assert (loan_file.drawn(window, None, seed=1) == window).all()
    assert loan_file.loans(window, PORTFOLIO).occurred_at.max() < np.datetime64("2003-01-01")


def test_logistic_regression_learns_what_there_is_to_learn(loan_file: LoanFile, tmp_path: Path) -> None:
    learnt = loan_file.loans(loan_file.years(2001, 2002), PORTFOLIO)
    judged = loan_file.loans(loan_file.years(2003, 2003), PORTFOLIO)

    figures = logistic_regression(Task(learnt, judged, PORTFOLIO, 0, tmp_path / "none", print)).verdict.figures

    assert figures["roc_auc"] == pytest.approx(0.917, abs=0.01)  # the state tells all but the tenth that did not
    assert figures["brier"] < 0.1


def test_calibration_mends_scores_that_are_too_sure() -> None:
    chance = np.random.default_rng(0)
    log_odds = chance.normal(size=4000)
    defaulted = chance.random(4000) < 1 / (1 + np.exp(-log_odds))
    too_sure = 5 * log_odds

    calibration, threshold = fitted_on_validation(too_sure[:2000], defaulted[:2000])
    later = verdict(too_sure[2000:], defaulted[2000:], calibration, threshold)

    assert calibration.slope == pytest.approx(0.2, abs=0.03)
    assert later.figures["brier"] < later.figures["brier_uncalibrated"] - 0.03
    assert sum(later.calibrated.n_loans) == sum(later.uncalibrated.n_loans) == 2000


def test_the_threshold_is_not_chosen_on_the_judged_loans() -> None:
    log_odds, defaulted = np.array([-1.0, 0.0, 1.0, 2.0]), np.array([False, False, True, True])
    identity = Calibration(slope=1.0, intercept=0.0)

    assert verdict(log_odds, defaulted, identity, threshold=0.6).figures["f1"] == 1.0
    assert verdict(log_odds, defaulted, identity, threshold=0.99).figures["f1"] == 0.0


def test_reliability_adds_up_over_models() -> None:
    one = reliability(np.array([0.0, 0.06, 1.0]), np.array([False, True, True]))
    both = one + reliability(np.array([0.99]), np.array([False]))

    assert (one.n_loans[0], one.n_loans[1], one.n_loans[-1]) == (1, 1, 1)
    assert (both.n_loans[-1], both.defaulted[-1]) == (2, 1)
    assert both.expected[-1] == pytest.approx(1.99)


def test_a_folder_for_fits_is_made_for_the_first_of_them(tmp_path: Path) -> None:
    kept = KeptFits(tmp_path / "results" / "fits")

    assert not (tmp_path / "results").exists()
    kept.fit({"said": "sba, seed 0"}, lambda _: made(0.7), print)
    assert len([*(tmp_path / "results" / "fits").iterdir()]) == 1


def test_a_model_that_was_fitted_is_not_fitted_again(tmp_path: Path) -> None:
    key = {"said": "sba, seed 0"}
    first = KeptFits(tmp_path).fit(key, lambda _: made(0.7), print)

    def not_again(_: Path) -> Fit:
        raise AssertionError

    kept = KeptFits(tmp_path)
    assert asdict(kept.fit(key, not_again, print)) == asdict(first)
    assert kept.n_kept == 1
    with pytest.raises(AssertionError):
        kept.fit({"said": "sba, seed 1"}, not_again, print)


@pytest.mark.parametrize("damage", ['{"key": {"said"', "{}", ""])
def test_a_kept_fit_that_is_damaged_is_said_and_made_again(tmp_path: Path, damage: str) -> None:
    key, said = {"said": "sba, seed 0"}, list[str]()
    KeptFits(tmp_path).fit(key, lambda _: made(0.7), print)
    (path,) = tmp_path.iterdir()
    path.write_text(damage)

    again = KeptFits(tmp_path)

    assert again.fit(key, lambda _: made(0.8), said.append).verdict.figures == {"roc_auc": 0.8}
    assert (again.n_kept, said[0].startswith(f"{path} is damaged")) == (0, True)
    assert KeptFits(tmp_path).fit(key, lambda _: made(0.9), print).verdict.figures == {"roc_auc": 0.8}


@pytest.mark.parametrize("on", [{"device": "a GPU", "cores": 2}, {"device": "a processor", "cores": 4}])
def test_a_fit_that_was_made_on_another_device_or_other_cores_is_made_again(tmp_path: Path, on: dict[str, Any]) -> None:
    key = {"said": "sba, seed 0"}
    KeptFits(tmp_path, on={"device": "a processor", "cores": 2}).fit(key, lambda _: made(0.7), print)

    elsewhere = KeptFits(tmp_path, on=on)

    assert elsewhere.fit(key, lambda _: made(0.8), print).verdict.figures == {"roc_auc": 0.8}
    assert elsewhere.n_kept == 0


def test_fits_are_kept_for_the_device_and_the_cores_of_this_machine(tmp_path: Path) -> None:
    key, here = {"said": "sba, seed 0"}, machine()
    on = {"device": here["gpu"] or here["processor"], "cores": here["cores"]}
    KeptFits(tmp_path).fit(key, lambda _: made(0.7), print)

    assert KeptFits(tmp_path, on=on).fit(key, lambda _: made(0.8), print).verdict.figures == {"roc_auc": 0.7}


def test_a_fit_of_other_packages_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = {"said": "sba, seed 0"}
    KeptFits(tmp_path).fit(key, lambda _: made(0.7), print)
    monkeypatch.setattr("bench.fits.versions_of", lambda _: {"torch": "another"})

    assert KeptFits(tmp_path).fit(key, lambda _: made(0.8), print).verdict.figures == {"roc_auc": 0.8}


def test_a_fit_that_was_cut_off_finds_its_checkpoint_again(tmp_path: Path) -> None:
    def cut_off(checkpoint: Path) -> Fit:
        checkpoint.write_bytes(b"half")
        raise KeyboardInterrupt

    def goes_on(checkpoint: Path) -> Fit:
        assert checkpoint.read_bytes() == b"half"
        return made(0.7)

    key = {"said": "sba, seed 0"}
    with pytest.raises(KeyboardInterrupt):
        KeptFits(tmp_path).fit(key, cut_off, print)
    assert KeptFits(tmp_path).fit(key, goes_on, print).verdict.figures == {"roc_auc": 0.7}


def judged_on(split: Split, **means: float) -> list[Judged]:
    models = {"ours": "TabTransformer", "boosted": "LightGBM", "logistic": "logistic regression"}
    return [
        Judged(preset, split, models[name], 1, 1, 0.1, [made(value)])
        for preset in ("sba_application", "sba")
        for name, value in means.items()
    ]


def test_notes_name_the_splits_on_which_each_of_the_others_is_better() -> None:
    judged = [
        *judged_on(Split(2001, 2006, 2007), ours=0.70, boosted=0.72, logistic=0.69),
        *judged_on(Split(2004, 2008, 2009), ours=0.60, boosted=0.55, logistic=0.575),
    ]

    said = notes(judged, left_out=[])

    assert "sba: TabTransformer is behind LightGBM on 1 of 2 splits: 2001–2006 → 2007 by 0.0200." in said
    least = "the smallest lead of 2 is 0.0100"
    assert f"sba: TabTransformer is not behind logistic regression on any split; {least}." in said


def test_the_goal_counts_the_splits_on_which_the_network_is_not_behind() -> None:
    splits = [Split(2001, 2006, 2007), Split(2002, 2007, 2008), Split(2004, 2008, 2009)]
    ours, theirs = [[0.7, 0.8], [0.75, 0.75], [0.6, 0.6]], [0.75, 0.74, 0.61]
    judged = [
        Judged("sba", split, model, 1, 1, 0.1, [made(value) for value in values])
        for split, mine, other in zip(splits, ours, theirs, strict=True)
        for model, values in (("TabTransformer", mine), ("LightGBM", [other]))
    ]

    goal = goal_of(judged, "sba")

    assert (goal.value, goal.bound, goal.reached) == (2, 2, True)


@pytest.mark.parametrize(("size", "left_out"), [(DEFAULT, []), (LONG, ["1995–2000 → 2001"])])
def test_a_part_of_the_loans_or_splits_judges_no_goal(size: Size, left_out: list[str]) -> None:
    judged = judged_on(Split(2001, 2002, 2003), ours=0.8, boosted=0.7)

    goal = goal_of(judged, "sba", why_not_judged(whole=is_whole(size, left_out)))

    assert goal.not_judged == "a part of the loans or splits; --long --loans FILE judges by all"
    assert not goal.reached
    assert why_not_judged(whole=is_whole(LONG, [])) is None
