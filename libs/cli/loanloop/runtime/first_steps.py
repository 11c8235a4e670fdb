"""The lines that `loanloop up` prints to paste: send a loan to Kafka, ask for a decision by REST, see decisions."""

import json
import secrets
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from loanloop_common.events import Topic
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio import Portfolio

from loanloop.runtime.rest import rest_asks_for_key


@dataclass(frozen=True)
class FirstSteps:
    produce: str
    predict: str
    consume: str


def first_steps(portfolio: Portfolio, *, tools: Path, rest_url: str) -> FirstSteps:
    producer = f"{tools}/kafka-console-producer --topic {Topic.LOAN_RECEIVED}"
    loan, asked_for = (shlex.quote(example_loan(portfolio)) for _ in range(2))
    key = "-H 'x-api-key: KEY' " if rest_asks_for_key() else ""
    return FirstSteps(
        produce=f"echo {loan} | {producer}",
        predict=f"{_curl(rest_url)} {rest_url}/predict {key}-H 'content-type: application/json' -d {asked_for}",
        consume=f"{tools}/kafka-console-consumer --topic {Topic.LOAN_SCORED} --from-beginning",
    )


def what_follows(portfolio: Portfolio, live: str | None) -> tuple[str, str]:
    """Of loans that have ended, and of a question to REST."""
    policy = portfolio.policy
    if live is None:
        return f"the first {policy.first_labels:,} start a training", "503 until a model is live"
    return f"{policy.new_labels:,} new ones start a training", f"{live} is live"


def _curl(rest_url: str) -> str:
    """REST's certificate names the host that others ask, seldom loopback, where it is this installation's for sure."""
    return "curl -s --insecure" if rest_url.startswith("https:") else "curl -s"


def example_loan(portfolio: Portfolio) -> str:
    """A valid `loan.received` of this portfolio, new at each call."""
    return json.dumps(
        LoanCodec(portfolio).example()
        | {
            "event_id": str(uuid4()),
            "occurred_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "loan_id": f"example-{secrets.token_hex(3)}",
        }
    )
