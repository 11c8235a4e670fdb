"""One loan followed by its trace id through ingest, the predictor, the outbox and what was refused."""

import json
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from loanloop_common.events import Topic
from loanloop_common.kafka import Message, publish_messages

from tests.integration.predictor.versions import make_version
from tests.integration.predictor.world import World, predict
from tests.support.collector import Collector, attributes_of, hangs_on
from tests.support.eventually import eventually
from tests.support.loans import as_bytes, make_loan
from tests.support.topics import read_all

pytestmark = pytest.mark.timeout(600)

TEMPLATE = json.loads((Path(__file__).parents[3] / "deploy/logs/index-template.json").read_text())
MAPPED = TEMPLATE["template"]["mappings"]["properties"]["loanloop"]["properties"].keys()


def traceparent(number: int, *, flags: str = "01") -> str:
    return f"00-{number:032x}-00000000000000aa-{flags}"


def message(loan: dict[str, Any], traced: str | None) -> Message:
    headers = [("traceparent", traced.encode())] if traced else []
    return Message(loan["loan_id"].encode(), as_bytes(loan), headers)


@dataclass(frozen=True)
class Lines:
    """Of the services' logs, which they share with the tests before, those of this one: each is one JSON object."""

    world: World
    before: dict[str, int]

    @classmethod
    def from_now_on(cls, world: World, *services: str) -> "Lines":
        logs = {service: world.infrastructure.log_of(service) for service in services}
        return cls(world, {service: log.stat().st_size if log.exists() else 0 for service, log in logs.items()})

    def of(self, service: str) -> list[dict[str, Any]]:
        written = self.world.infrastructure.log_of(service).read_bytes()[self.before[service] :]
        return [json.loads(line) for line in written.splitlines()]

    def by_trace(self, service: str, event: str) -> dict[str, dict[str, Any]]:
        return {line["trace_id"]: line for line in self.of(service) if line["event"] == event}

    def fields(self) -> set[str]:
        return {name for service in self.before for line in self.of(service) for name in line}


async def by_loan(world: World, topic: str, key: str = "loan_id") -> dict[str, str | None]:
    records: list[ConsumerRecord] = await read_all(world.infrastructure.kafka_bootstrap, topic)
    headers = {json.loads(record.value)[key]: dict(record.headers).get("traceparent") for record in records}
    return {loan: value and value.decode() for loan, value in headers.items()}


async def test_a_loan_is_followed_from_received_to_scored_by_its_trace_id(world: World) -> None:
    lines = Lines.from_now_on(world, "ingest", "predictor")
    await world.deploy(await world.store_model(make_version("v1")), 1)
    ingest = {"LOANLOOP_POSTGRES__DSN": world.dsn, "LOANLOOP_PORTFOLIO": "sba", "LOANLOOP_LOG_FORMAT": "json"}
    await world.infrastructure.start_service("ingest", **ingest)
    url = await world.start_predictor(LOANLOOP_LOG_FORMAT="json")
    await eventually(world.applied)
    streamed = {"loan-1": traceparent(1), "loan-2": None, "loan-3": traceparent(3, flags="00")}
    loans = {"loan-1": make_loan(1), "loan-2": make_loan(2), "loan-3": make_loan(3)}
    refused = make_loan(4, schema_version=2)

    messages = [message(loan, streamed[name]) for name, loan in loans.items()]
    await publish_messages(world.broker, Topic.LOAN_RECEIVED, [*messages, message(refused, traceparent(4))])
    asked = (await predict(url, make_loan(5), headers={"traceparent": traceparent(5)})).json()
    await world.consumed(5)
    await eventually(lambda: _all_stored(world))

    assert await by_loan(world, Topic.LOAN_SCORED) == streamed | {"loan-5": traceparent(5)}
    received = streamed | {"loan-4": traceparent(4), "loan-5": traceparent(5)}
    assert await by_loan(world, Topic.LOAN_RECEIVED) == received
    assert await by_loan(world, Topic.LOAN_RECEIVED.dead_letters) == {"loan-4": traceparent(4)}
    stored, decided = lines.by_trace("ingest", "event_stored"), lines.by_trace("predictor", "loan_decided")
    assert stored.keys() == decided.keys() == {f"{1:032x}", f"{5:032x}"}
    assert {trace: line["event_id"] for trace, line in stored.items()} == {
        f"{1:032x}": loans["loan-1"]["event_id"],
        f"{5:032x}": asked["event_id"],
    }
    assert (decided[f"{5:032x}"]["decision_id"], decided[f"{5:032x}"]["channel"]) == (asked["decision_id"], "rest")
    assert decided[f"{1:032x}"]["channel"] == "stream"
    assert lines.fields() <= MAPPED
    assert lines.by_trace("ingest", "message_refused")[f"{4:032x}"]["event_id"] == refused["event_id"]


async def _all_stored(world: World) -> bool:
    n: int = await world.pool.fetchval("SELECT count(*) FROM loan_data.raw_data")
    return n == 4


async def test_with_a_collector_requests_batches_and_deployments_are_spans(world: World) -> None:
    with Collector().listening() as collector:
        await world.deploy(await world.store_model(make_version("v1")), 1)
        url = await world.start_predictor(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        await eventually(world.applied)
        await publish_messages(world.broker, Topic.LOAN_RECEIVED, [message(make_loan(1), traceparent(1))])
        await predict(url, make_loan(2), headers={"traceparent": traceparent(2)})
        await world.consumed(2)
        await world.infrastructure.kill_service("predictor", SIGTERM)

    (request,) = collector.named("POST /predict")
    (deployment,) = collector.named("deployment")
    linked = {link.trace_id.hex() for batch in collector.named("process loans") for link in batch.links}
    scored = await by_loan(world, Topic.LOAN_SCORED)
    assert scored["loan-1"] == traceparent(1)
    assert hangs_on(scored["loan-2"], request)
    assert request.trace_id.hex() == f"{2:032x}"
    assert linked == {f"{1:032x}", f"{2:032x}"}
    assert attributes_of(deployment) == {"version": "v1", "deployment_seq": 1}
    assert {service for service, _ in collector.spans} == {"loanloop-predictor"}
