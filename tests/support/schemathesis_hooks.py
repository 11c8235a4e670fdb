"""What JSON Schema can't say of a request: the day on which a loan was applied for is not to come."""

from datetime import UTC, datetime
from typing import Any

import schemathesis


@schemathesis.hook
def map_body(_context: Any, body: Any) -> Any:
    loans = body.get("loans") if isinstance(body, dict) else None
    for loan in loans if isinstance(loans, list) else [body]:
        if isinstance(loan, dict) and _is_outside_of_what_is_taken(loan.get("occurred_at")):
            loan["occurred_at"] = "2008-05-20T09:30:00Z"
    return body


def _is_outside_of_what_is_taken(moment: Any) -> bool:
    try:
        at = datetime.fromisoformat(moment)
    except (TypeError, ValueError):
        return False
    return at.year < 1900 or at.replace(tzinfo=at.tzinfo or UTC) > datetime.now(UTC)
