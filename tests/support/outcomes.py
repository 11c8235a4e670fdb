"""Outcomes as they come over the wire."""

from typing import Any
from uuid import uuid5

from tests.support.loans import NAMESPACE


def make_outcome(number: int, *, correction: int = 0, **overrides: Any) -> dict[str, Any]:
    """The `loan.outcome` of `make_loan(number)`; a later correction says the opposite of the one before."""
    outcome = {
        "event_id": str(uuid5(NAMESPACE, f"outcome {number} {correction}")),
        "occurred_at": f"2008-01-{1 + correction:02}T00:00:00Z",
        "schema_version": 1,
        "loan_id": f"loan-{number}",
        "defaulted": correction % 2 == 0,
        "known_at": "2007-12-20T00:00:00Z",
    }
    return outcome | overrides
