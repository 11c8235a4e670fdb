"""Events that a real ingest refuses, each with what it says of them."""

from typing import Any, NamedTuple

from tests.support.loans import as_bytes, make_features, make_loan
from tests.support.outcomes import make_outcome


class Bad(NamedTuple):
    payload: bytes
    reason: str
    field: str | None
    said: str


def loan_with(number: int, **features: Any) -> bytes:
    return as_bytes(make_loan(number, features=make_features(number) | features))


ANCIENT = Bad(
    loan_with(1, business_age="ancient"),
    "invalid_field",
    "features.business_age",
    "features.business_age = 'ancient': must be one of existing, new, or null",
)
NEGATIVE = Bad(loan_with(2, employees=-1), "invalid_field", "features.employees", "features.employees = -1: must be")
CROWDED = Bad(loan_with(3, employees=250_000), "invalid_field", "features.employees", "features.employees = 250000")
UNSTORABLE = Bad(loan_with(4), "refused_by_database", None, "violates check constraint")
TAKEN = Bad(
    as_bytes(make_loan(10, features=make_features(11))),
    "conflict",
    "event_id",
    f"event_id {make_loan(10)['event_id']} is already taken",
)
HUGE = Bad(loan_with(5, bank="x" * 900_000), "invalid_field", "features.bank", "features.bank = 'xxx")
OVER_WHAT_IS_KEPT = Bad(loan_with(6, bank="y" * 1_010_000), "invalid_field", "features.bank", "features.bank = 'yyy")
NO_ID = Bad(
    as_bytes({name: value for name, value in make_loan(7).items() if name != "loan_id"}),
    "invalid_field",
    "loan_id",
    "loan_id = None: is missing",
)
KEYED = [ANCIENT, NEGATIVE, CROWDED, UNSTORABLE, TAKEN, HUGE, OVER_WHAT_IS_KEPT]

NOT_JSON = Bad(b"not json", "invalid_message", None, "the message is not JSON")
NOT_UTF8 = Bad(b"\xff\xfe\x00\x80", "invalid_message", None, "the message is not JSON")
NESTED = Bad(b'{"loan_id":' * 10_000, "invalid_message", None, "nested too deeply")
LONE_SURROGATE = Bad(b'{"loan_id": "\\ud800"}', "invalid_message", None, "the message is not JSON")
FOR_THE_TERMINAL = Bad(b"\x1b]0;owned\x07 \xff", "invalid_message", None, "the message is not JSON")
UNKEYED = [NO_ID, NOT_JSON, NOT_UTF8, NESTED, LONE_SURROGATE, FOR_THE_TERMINAL]

BAD_OUTCOME = Bad(
    as_bytes(make_outcome(1, defaulted="perhaps")), "invalid_field", "defaulted", "defaulted = 'perhaps': must be"
)
REFUSED = [*KEYED, *UNKEYED, BAD_OUTCOME]

FILE = "file:[red]loans.csv@0123456789ab"
FILE_ROW = f"{FILE}:0:17"
