"""What is committed in contracts/ is what the code says, and every hand-written example is a real event."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from asyncpg.exceptions import DataError
from loanloop_common.asyncapi import CHANNELS
from loanloop_common.contracts import PORTFOLIOS, differing, event_schema, loan_schema, main, write
from loanloop_common.dead_letters import refusal_of
from loanloop_common.errors import EventConflict, InvalidField, InvalidMessage, MessageTooLarge
from loanloop_common.event_codec import decode_event
from loanloop_common.events import EVENT_OF_TOPIC, Topic
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.portfolio_file import load_portfolio
from loanloop_common.resources import resource_folder

from tests.support.records import make_record

CONTRACTS = resource_folder("contracts")
APPS = sorted(Path(__file__).parents[3].glob("services/*/*/app.py"))
EXAMPLES = {topic: CONTRACTS / "examples" / f"{topic}.json" for topic in Topic}


def test_committed_contracts_are_what_the_code_generates(capsys: pytest.CaptureFixture[str]) -> None:
    assert (main(["--check"]), capsys.readouterr().err) == (0, "")


def test_check_names_a_file_that_drifted(tmp_path: Path) -> None:
    write(tmp_path)
    assert differing(tmp_path) == []

    drifted = tmp_path / "loan.outcome.schema.json"
    drifted.write_text(drifted.read_text().replace("defaulted", "lost"))
    (tmp_path / "asyncapi.json").unlink()

    assert differing(tmp_path) == ["loan.outcome.schema.json", "asyncapi.json"]


@pytest.mark.parametrize("topic", Topic)
def test_example_decodes_and_says_again_what_it_said(topic: Topic) -> None:
    data = EXAMPLES[topic].read_bytes()

    event = decode_event(EVENT_OF_TOPIC[topic], data)

    assert json.loads(event.model_dump_json(exclude_unset=True)) == json.loads(data)


@pytest.mark.parametrize("topic", Topic)
def test_example_passes_its_schema(topic: Topic) -> None:
    example = json.loads(EXAMPLES[topic].read_bytes())

    jsonschema.validate(example, event_schema(topic), format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize("topic", Topic)
def test_schema_refuses_an_event_without_its_id(topic: Topic) -> None:
    example = json.loads(EXAMPLES[topic].read_bytes())
    del example["event_id"]

    with pytest.raises(jsonschema.ValidationError, match="event_id"):
        jsonschema.validate(example, event_schema(topic))


@pytest.mark.parametrize("portfolio", PORTFOLIOS)
def test_portfolios_own_example_passes_codec_and_schema(portfolio: str) -> None:
    codec = LoanCodec(load_portfolio(portfolio))
    example = codec.example()

    jsonschema.validate(example, loan_schema(portfolio))

    assert codec.decode(json.dumps(example).encode()).loan_id == example["loan_id"]


def test_example_loan_is_one_of_the_default_portfolio() -> None:
    loan = LoanCodec(load_portfolio("sba")).decode(EXAMPLES[Topic.LOAN_RECEIVED].read_bytes())

    assert loan.features.approved_amount == 150_000


def test_unknown_fields_are_ignored() -> None:
    example = json.loads(EXAMPLES[Topic.LOAN_OUTCOME].read_bytes()) | {"officer": "somebody", "tags": [1, 2]}

    event = decode_event(EVENT_OF_TOPIC[Topic.LOAN_OUTCOME], json.dumps(example).encode())

    assert not hasattr(event, "officer")


@pytest.mark.parametrize("missing", ["event_id", "schema_version", "occurred_at"])
def test_event_without_its_envelope_is_refused_by_the_fields_name(missing: str) -> None:
    example = json.loads(EXAMPLES[Topic.MODEL_DEPLOYED].read_bytes())
    del example[missing]

    with pytest.raises(InvalidField) as refused:
        decode_event(EVENT_OF_TOPIC[Topic.MODEL_DEPLOYED], json.dumps(example).encode())
    assert refused.value.field == missing


@pytest.mark.parametrize("data", [b"", None, b"\xff\xfe", b"not json", b"[]", b"1"])
def test_what_is_no_json_object_is_an_invalid_message(data: bytes | None) -> None:
    with pytest.raises(InvalidMessage):
        decode_event(EVENT_OF_TOPIC[Topic.LOAN_OUTCOME], data)


def test_asyncapi_describes_each_topic_and_its_references_lead_somewhere() -> None:
    document = json.loads((CONTRACTS / "asyncapi.json").read_bytes())

    assert set(CHANNELS) == set(Topic)
    assert {topic.value for topic in Topic} <= set(document["channels"])
    assert references_in(document)
    for reference in references_in(document):
        if reference.startswith("./"):
            assert (CONTRACTS / reference).is_file()
        else:
            assert reference.removeprefix("#/channels/") in document["channels"]


@pytest.mark.parametrize(
    "error",
    [InvalidMessage(""), InvalidField("", "", ""), MessageTooLarge("", 1, 1), EventConflict(""), DataError("")],
)
def test_every_reason_of_a_dead_letter_is_in_asyncapi(error: Exception) -> None:
    channels = json.loads((CONTRACTS / "asyncapi.json").read_bytes())["channels"]
    headers = channels["loan.received.dlq"]["messages"]["DeadLetter"]["headers"]["properties"]

    assert refusal_of(make_record(), error).reason in headers["reason"]["description"].split(": ")[1].split(", ")


def references_in(node: Any) -> list[str]:
    if isinstance(node, list):
        return [reference for part in node for reference in references_in(part)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if "$ref" in node else []
    return own + references_in(list(node.values()))


def consumers_in(app: Path) -> Iterator[tuple[Topic, str, str | None]]:
    """Topic, service and group of each consumer that it makes."""
    code = ast.parse(app.read_text())
    constants = {
        statement.targets[0].id: statement.value.value
        for statement in code.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Constant)
    }
    for node in ast.walk(code):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "BatchConsumer":
            (group,) = (given.value for given in node.keywords if given.arg == "group")
            for topic in node.args[1:]:
                assert isinstance(topic, ast.Attribute)
                yield Topic[topic.attr], str(constants["SERVICE"]), eval(ast.unparse(group), {}, constants)


def test_readers_that_the_contract_names_are_the_consumers_that_the_services_make() -> None:
    named = {(t, reader, group) for t, it in CHANNELS.items() for reader, group in it.readers.items()}

    assert len(APPS) == 4
    assert {found for app in APPS for found in consumers_in(app)} == {each for each in named if each[1] != "users"}
