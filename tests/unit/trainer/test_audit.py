"""The leak audit: what it warns of and what it leaves alone."""

from typing import Any

import numpy as np
import pytest
from loanloop_trainer.domain.audit import NEARLY_DECIDES, audit_features
from loanloop_trainer.domain.split import TooFewDays

N_LOANS = 2000
CHANCE = np.random.default_rng(0)
DEFAULTED = CHANCE.random(N_LOANS) < 0.3
DAYS = np.datetime64("2005-01-01", "us") + np.arange(N_LOANS) * np.timedelta64(1, "h")
COLUMNS: dict[str, list[Any]] = {
    "noise": CHANCE.normal(size=N_LOANS).tolist(),
    "income": (CHANCE.normal(size=N_LOANS) - DEFAULTED).tolist(),
    # Scattered values that only exactly, not by size, tell the outcome: as an edited term does.
    "term": np.where(DEFAULTED, CHANCE.choice([61, 83, 97], N_LOANS), CHANCE.choice([60, 84, 96], N_LOANS)).tolist(),
    "collections": ["yes" if bad else None for bad in DEFAULTED],
    "constant": ["same"] * N_LOANS,
}


def roc_aucs() -> dict[str, float]:
    numbers = frozenset({"noise", "income", "term"})
    findings = audit_features(COLUMNS, DEFAULTED, DAYS, numbers=numbers)
    return {finding.feature: finding.roc_auc or 0.0 for finding in findings}


def test_a_feature_that_decides_is_warned_of_and_comes_first() -> None:
    findings = audit_features(COLUMNS, DEFAULTED, DAYS, numbers=frozenset({"noise", "income", "term"}))

    assert {finding.feature for finding in findings if finding.warning} == {"term", "collections"}
    assert [finding.warning is None for finding in findings] == [False, False, True, True, True]


def test_an_honest_feature_tells_something_and_noise_nothing() -> None:
    aucs = roc_aucs()

    assert 0.65 < aucs["income"] < NEARLY_DECIDES
    assert aucs["noise"] == pytest.approx(0.5, abs=0.07)
    assert aucs["constant"] == 0.5


def test_the_order_of_rows_does_not_matter() -> None:
    order = np.random.default_rng(1).permutation(N_LOANS)
    columns = {name: [column[i] for i in order] for name, column in COLUMNS.items()}
    findings = audit_features(columns, DEFAULTED[order], DAYS[order], numbers=frozenset({"noise", "income", "term"}))

    assert {finding.feature: finding.roc_auc for finding in findings} == pytest.approx(roc_aucs())


def test_without_defaults_nothing_can_be_said() -> None:
    findings = audit_features({"noise": COLUMNS["noise"]}, np.zeros(N_LOANS, bool), DAYS, numbers=frozenset({"noise"}))

    assert [(finding.roc_auc, finding.warning) for finding in findings] == [(None, None)]


def test_missing_and_infinite_numbers_are_taken() -> None:
    column = [None, float("inf"), float("nan"), *COLUMNS["noise"][3:]]

    assert audit_features({"x": column}, DEFAULTED, DAYS, numbers=frozenset({"x"}))[0].roc_auc is not None


def test_loans_of_one_day_cannot_be_audited() -> None:
    with pytest.raises(TooFewDays):
        audit_features(COLUMNS, DEFAULTED, DAYS[:1].repeat(N_LOANS), numbers=frozenset())
