from datetime import UTC, datetime

import numpy as np
from loanloop_evaluator.domain.gate import GateRule, Judged, judged, verdict_on, window_begins_after
from loanloop_evaluator.domain.scored import Confusion, Scored

F1 = GateRule("f1", at_least=0.8, min_loans=500, confidence=0.9)
AUC = GateRule("roc_auc", at_least=0.66, min_loans=500, confidence=0.9)


def with_value(version: str, value: float | None) -> Judged:
    return Judged(version, Confusion(tp=100, tn=900), {}, value, None)


def test_the_first_model_needs_the_threshold_alone() -> None:
    verdict = verdict_on(with_value("v1", 0.8), None, F1)

    assert verdict.passed
    assert verdict.reason == "F1 0.800 on 1000 loans, at least 0.8; no champion to compare with"


def test_below_the_threshold_is_rejected_even_if_better_than_the_champion() -> None:
    verdict = verdict_on(with_value("v2", 0.79), with_value("v1", 0.5), F1)

    assert not verdict.passed
    assert verdict.reason == "F1 0.790 on 1000 loans, below 0.8; v1 has 0.500 on the same loans"


def test_by_f1_as_good_as_the_champion_passes_and_worse_does_not() -> None:
    assert verdict_on(with_value("v2", 0.85), with_value("v1", 0.85), F1).passed
    verdict = verdict_on(with_value("v2", 0.84), with_value("v1", 0.85), F1)
    assert (verdict.passed, verdict.reason) == (
        False,
        "F1 0.840 on 1000 loans, not as good: v1 has 0.850 on the same loans",
    )


def test_by_roc_auc_it_must_be_better_than_the_champion() -> None:
    assert not verdict_on(with_value("v2", 0.7), with_value("v1", 0.7), AUC).passed
    assert verdict_on(with_value("v2", 0.71), with_value("v1", 0.7), AUC).passed


def test_a_window_of_one_class_is_no_ground_to_deploy() -> None:
    verdict = verdict_on(with_value("v2", None), None, AUC)

    assert not verdict.passed
    assert "all of one class" in verdict.reason


def test_a_champion_that_is_undefined_on_the_window_is_no_rival() -> None:
    assert verdict_on(with_value("v2", 0.9), with_value("v1", None), F1).passed


def test_the_window_begins_after_what_either_has_seen() -> None:
    early, late = datetime(2005, 1, 1, tzinfo=UTC), datetime(2006, 1, 1, tzinfo=UTC)

    assert window_begins_after(early, None) == early
    assert window_begins_after(late, early) == late
    assert window_begins_after(early, late) == late


def test_the_f1_of_a_model_is_that_of_its_own_threshold() -> None:
    probability = np.array([0.3, 0.4, 0.6, 0.2])
    defaulted = np.array([True, True, True, False])
    low = judged("v1", Scored(probability, probability >= 0.3, defaulted), F1, seed=1)
    high = judged("v1", Scored(probability, probability >= 0.5, defaulted), F1, seed=1)

    assert (low.value, high.value) == (1.0, 0.5)
    assert low.bounds is not None
    assert low.metrics["n_loans"] == 4
