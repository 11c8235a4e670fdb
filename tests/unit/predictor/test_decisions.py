"""Decisions, their ids and their event."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from loanloop_common.errors import EventConflict, InvalidField, InvalidMessage, LoanloopError
from loanloop_common.events import LoanScored
from loanloop_predictor.api.answers import BatchAnswer, DecisionAnswer, encoded_answer, encoded_batch
from loanloop_predictor.api.errors import detail_of
from loanloop_predictor.domain.deciding import credit_decision
from loanloop_predictor.domain.decisions import (
    Decision,
    NoProbability,
    StoredDecision,
    conflicts,
    first_of_each_event,
    time_ordered_ids,
)
from loanloop_predictor.domain.incoming import IncomingLoan
from loanloop_predictor.domain.scored import begun_scored_event, scored_event
from msgspec.structs import replace

NOW = datetime(2020, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)
DECISION = Decision(
    decision_id=UUID(int=1), event_id=UUID(int=2), payload_sha256=b"a", loan_id="loan", occurred_at=NOW, features="{}",
    probability=0.1234567890123456, threshold=0.5, decision="approve", version="v1", deployment_seq=3, engine="e",
    latency_ms=1.5, channel="stream",
)  # fmt: skip
STORED = StoredDecision(DECISION, NOW, is_new=True)


@pytest.mark.parametrize(("probability", "decision"), [(0.49, "approve"), (0.5, "decline"), (0.51, "decline")])
def test_threshold_itself_declines(probability: float, decision: str) -> None:
    assert credit_decision(probability, 0.5) == decision


def test_first_of_each_event_stays_in_key_order() -> None:
    made = [replace(DECISION, event_id=UUID(int=n), loan_id=str(place)) for place, n in enumerate((9, 3, 9, 1))]
    assert [(one.event_id.int, one.loan_id) for one in first_of_each_event(made)] == [(1, "3"), (3, "1"), (9, "0")]


def test_ids_are_uuids_of_version_7_in_order_of_time() -> None:
    early, late = time_ordered_ids(1_000, b"\xff" * 10), time_ordered_ids(1_001, b"\x00" * 20)
    assert [one.version for one in early + late] == [7, 7, 7]
    assert [one.variant for one in late] == ["specified in RFC 4122"] * 2
    assert early[0] < late[0]


def test_scored_event_says_what_is_stored_bit_by_bit() -> None:
    event = LoanScored.model_validate_json(scored_event(STORED))
    assert event.event_id == DECISION.decision_id
    assert event.loan_event_id == DECISION.event_id
    assert event.probability == DECISION.probability
    assert (event.occurred_at, event.decided_at) == (NOW, NOW)
    assert (event.version, event.deployment_seq, event.channel) == ("v1", 3, "stream")


def test_begun_scored_event_lacks_only_when_it_was_stored() -> None:
    assert begun_scored_event(DECISION) + b'"2020-01-01T12:30:00.123456Z"}' == scored_event(STORED)


def asked(*ignored: str) -> IncomingLoan:
    return IncomingLoan(loan=None, payload_sha256=b"", ignored_features=ignored)  # type: ignore[arg-type]  # not looked at


@pytest.mark.parametrize("ignored", [(), ("term_month", "zip")])
def test_answer_is_encoded_as_its_model_says(ignored: tuple[str, ...]) -> None:
    encoded = encoded_answer(STORED, asked(*ignored))
    answer = DecisionAnswer.model_validate_json(encoded)
    assert answer.model_dump_json().encode() == encoded
    said = answer.model_dump()
    assert (said.pop("ignored_features"), said.pop("decided_at")) == ([*ignored], NOW)
    assert said == {name: getattr(DECISION, name) for name in said}


def test_answers_of_a_batch_are_encoded_as_their_model_says_each_in_its_place() -> None:
    values = (10**30, 1.5, 1e300, float("inf"), True, None, "a\ud800", [[1], {"a": "b"}])
    unreadable = [InvalidField("features.\ud800", value, "must be another") for value in values]
    answers = (STORED, NoProbability("v1"), EventConflict(str(UUID(int=2))), InvalidMessage("the database refuses it"))
    read: list[IncomingLoan | LoanloopError] = [*unreadable, *(asked("zip") for _ in answers)]

    encoded, n_refused = encoded_batch(read, answers)

    batch = BatchAnswer.model_validate_json(encoded)
    assert json.loads(batch.model_dump_json()) == json.loads(encoded)
    assert (n_refused, batch.n_refused, batch.n_decided) == (len(values) + 3, len(values) + 3, 1)
    assert [item.error for item in batch.results] == [
        *(detail_of(error) for error in unreadable),
        *(None if isinstance(answer, StoredDecision) else detail_of(answer) for answer in answers),
    ]
    decided = DecisionAnswer.model_validate_json(encoded_answer(STORED, asked("zip")))
    assert [item.decision for item in batch.results] == [None] * len(values) + [decided, None, None, None]


def test_another_payload_conflicts() -> None:
    assert not conflicts(STORED, b"a")
    assert conflicts(STORED, b"b")
