from datetime import date

import pytest
from loanloop_evaluator.domain.quality import ArrivedLoans, QualityRule, complaint_about

DAY = date(2026, 3, 1)
RULE = QualityRule(max_rejected_share=0.05, min_loans=100)


def test_a_day_with_more_rejected_than_allowed_is_complained_of_with_its_commonest_reasons() -> None:
    rejected = {"invalid_json": 1, "invalid_field features.employees": 90, "conflict": 2, "too_large": 7}

    complaint = complaint_about(ArrivedLoans(DAY, 900, rejected), RULE)

    assert complaint == (
        "100 of the 1,000 loans of 2026-03-01 were rejected (10.0%, more than 5.0%): "
        "invalid_field features.employees 90, too_large 7, conflict 2; `loanloop dlq list` shows them"
    )


@pytest.mark.parametrize(
    ("n_stored", "rejected"),
    [(95, {"conflict": 5}), (9, {"conflict": 90}), (1000, {}), (0, {})],
    ids=["at the limit", "too few loans", "none rejected", "no loans"],
)
def test_a_day_at_the_limit_or_of_few_loans_is_not(n_stored: int, rejected: dict[str, int]) -> None:
    assert complaint_about(ArrivedLoans(DAY, n_stored, rejected), RULE) is None


def test_a_day_of_nothing_but_rejected_loans_is_complained_of() -> None:
    assert complaint_about(ArrivedLoans(DAY, 0, {"invalid_json": 100}), RULE)
