"""Loans of the portfolio `sba`, made up from a number, as they come over the wire."""

import json
import random
from typing import Any
from uuid import UUID, uuid5

NAMESPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


def make_features(number: int) -> dict[str, Any]:
    chance = random.Random(number)
    amount = chance.choice([5_000, 25_000, 50_000, 150_000]) + chance.randrange(1000)
    return {
        "state": chance.choice(["CA", "NY", "TX", "UT", None]),
        "zip3": f"{chance.randrange(100, 999)}",
        "bank": chance.choice(["BANK OF AMERICA", "WELLS FARGO", None]),
        "bank_state": chance.choice(["CA", "NC", "NY", None]),
        "naics": f"{chance.randrange(110000, 929999)}",
        "business_age": chance.choice(["existing", "new", None]),
        "urban_rural": chance.choice(["urban", "rural", None]),
        "revolving_credit": chance.choice(["Y", "N", None]),
        "low_doc": chance.choice(["Y", "N"]),
        "franchise": chance.random() < 0.1,
        "employees": chance.randrange(0, 200),
        "jobs_created": chance.randrange(0, 20),
        "jobs_retained": chance.randrange(0, 20),
        "approved_amount": float(amount),
        "guaranteed_amount": amount * chance.choice([0.5, 0.75, 0.85]),
        "term_months": chance.choice([36, 60, 84, 120, chance.randrange(1, 300)]),
    }


def make_loan(number: int, **overrides: Any) -> dict[str, Any]:
    """A `loan.received`; the same whenever it is made."""
    loan = {
        "event_id": str(uuid5(NAMESPACE, f"loan {number}")),
        "occurred_at": "2007-05-20T00:00:00Z",
        "schema_version": 1,
        "loan_id": f"loan-{number}",
        "features": make_features(number),
    }
    return loan | overrides


def as_bytes(loan: dict[str, Any]) -> bytes:
    return json.dumps(loan).encode()
