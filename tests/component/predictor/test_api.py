"""The REST application with a decider that holds its decisions in memory."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from loanloop_predictor.api import make_api
from structlog.testing import capture_logs

from tests.support.eventually import eventually
from tests.support.loans import as_bytes, make_features, make_loan
from tests.support.rest_in_memory import (
    MAX_BYTES,
    MAX_BYTES_AT_ONCE,
    MAX_LOAN_BYTES,
    MAX_LOANS,
    MAX_REQUESTS,
    FakeDecider,
    api_in_memory,
)

LOAN = {"loan_id": "a", "features": make_features(1)}


@pytest.fixture
def decider() -> FakeDecider:
    return FakeDecider()


@pytest.fixture
async def client(decider: FakeDecider) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(make_api(api_in_memory(decider)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://predictor") as client:
        yield client


async def test_decision_is_answered_with_what_explains_it(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/predict", json=LOAN)).json()
    assert {"decision_id", "event_id", "probability", "decision", "threshold", "version"} <= set(answer)
    assert (answer["probability"], answer["decision"], answer["version"]) == (0.25, "approve", "v1")


async def test_the_same_event_is_answered_alike_and_another_payload_is_a_conflict(client: httpx.AsyncClient) -> None:
    first, again = [await client.post("/predict", content=as_bytes(make_loan(1))) for _ in range(2)]
    other = await client.post("/predict", json=make_loan(1, loan_id="other"))
    assert first.json() == again.json()
    assert (other.status_code, other.json()["error"]["field"]) == (409, "event_id")


async def test_a_number_of_thousands_of_digits_comes_back_begun(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predict", json=LOAN | {"features": make_features(1) | {"employees": 10**3000}})

    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (422, "features.employees")
    assert error["value"] == "1" + "0" * 199
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    ("features", "rule"),
    [
        ({"employees": -1}, "must be a whole number from 0"),
        ({"employees": "four"}, "must be a whole number from 0"),
        ({"low_doc": "maybe"}, "must be one of Y, N"),
        ({"franchise": None}, "must be true or false"),
        ({"naics": "a\0b"}, ""),
    ],
)
async def test_422_names_field_value_and_rule(client: httpx.AsyncClient, features: dict[str, Any], rule: str) -> None:
    (name,) = features
    answer = await client.post("/predict", json=LOAN | {"features": make_features(1) | features})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["field"] == f"features.{name}"
    assert error["value"] == features[name]
    assert rule in error["rule"]
    assert error["rule"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"loan"', b"\xff", b"[" * 5000])
async def test_what_is_no_loan_is_422_in_the_same_shape(client: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/predict", "/predict/batch"):
        answer = await client.post(path, content=body)
        assert answer.status_code == 422
        assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "limit", "said"),
    [
        ("/predict", MAX_LOAN_BYTES, "15,000 bytes, the limit of one loan"),
        ("/predict/batch", MAX_BYTES, "20,000 bytes, the limit of a batch; send fewer loans"),
    ],
)
async def test_body_over_the_limit_is_413_declared_or_not(
    client: httpx.AsyncClient, path: str, limit: int, said: str
) -> None:
    async def undeclared() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * (limit // 2)

    within = await client.post(path, content=b" " * limit)
    declared = await client.post(path, content=b" " * (limit + 1))
    chunked = await client.post(path, content=undeclared())
    assert (within.status_code, declared.status_code, chunked.status_code) == (422, 413, 413)
    for refused in (declared, chunked):
        assert refused.json()["error"]["kind"] == "too_large"
        assert said in refused.json()["error"]["message"]


async def test_batches_that_are_too_many_bytes_together_are_turned_away(
    client: httpx.AsyncClient, decider: FakeDecider
) -> None:
    """One whose size is not declared counts as the largest that there may be."""

    async def undeclared() -> AsyncIterator[bytes]:
        yield json.dumps({"loans": [LOAN]}).encode()

    half = json.dumps({"loans": [LOAN]}).encode().ljust(MAX_BYTES_AT_ONCE // 2)
    decider.may_answer.clear()
    waiting = asyncio.create_task(client.post("/predict/batch", content=half))
    await eventually(lambda: decider.n_asked == 1)
    too_much = await client.post("/predict/batch", content=undeclared())
    waiting_too = asyncio.create_task(client.post("/predict/batch", content=half))
    await eventually(lambda: decider.n_asked == 2)
    one_more = await client.post("/predict/batch", json={"loans": [LOAN]})

    for refused in (too_much, one_more):
        assert (refused.status_code, refused.json()["error"]["kind"]) == (503, "overloaded")
        assert "more than 30,000" in refused.json()["error"]["message"]
    decider.may_answer.set()
    assert {answer.status_code for answer in await asyncio.gather(waiting, waiting_too)} == {200}
    assert (await client.post("/predict/batch", content=undeclared())).status_code == 200


async def test_while_a_long_body_is_read_others_are_answered(decider: FakeDecider) -> None:
    api = replace(api_in_memory(decider), max_body_bytes=10_000_000, max_loan_bytes=10_000_000)
    hostile = b'{"loan_id": "a", "features": {}, "more": [%s1e999]}' % (b'"a",' * 1_000_000)
    n_alive = 0
    transport = httpx.ASGITransport(make_api(api))
    async with httpx.AsyncClient(transport=transport, base_url="http://predictor", timeout=60) as client:
        reading = asyncio.create_task(client.post("/predict", content=hostile))
        while not reading.done():
            assert (await client.get("/alive")).status_code == 200
            n_alive += 1
            await asyncio.sleep(0)  # asked within the process, it never waits by itself

    assert reading.result().json()["error"]["field"] == "more"
    assert n_alive > 5  # on the event loop reading would let one or two in between


async def test_body_that_never_ends_is_408_and_makes_room_for_others(client: httpx.AsyncClient) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b'{"loan_id": '
        await asyncio.Event().wait()

    for path in ("/predict", "/predict/batch") * MAX_REQUESTS:
        answer = await client.post(path, content=stalling())
        assert (answer.status_code, answer.json()["error"]["kind"]) == (408, "too_slow")
    assert (await client.post("/predict", json=LOAN)).status_code == 200


async def test_more_requests_than_may_wait_are_turned_away_at_once(
    client: httpx.AsyncClient, decider: FakeDecider
) -> None:
    decider.may_answer.clear()
    waiting = [asyncio.create_task(client.post("/predict", json=LOAN)) for _ in range(MAX_REQUESTS)]
    await eventually(lambda: decider.n_asked == MAX_REQUESTS)

    one_more = await client.post("/predict", json=LOAN)
    batch = await client.post("/predict/batch", json={"loans": [LOAN]})
    health = await client.get("/health")

    assert [(r.status_code, r.json()["error"]["kind"]) for r in (one_more, batch)] == [(503, "overloaded")] * 2
    assert int(one_more.headers["retry-after"]) > 0
    assert health.status_code == 200
    decider.may_answer.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert (await client.post("/predict", json=LOAN)).status_code == 200


@pytest.mark.parametrize(
    ("sent", "field", "rule"),
    [
        (b"1e400", "features.employees", "64 bits"),
        (b"9" * 10_000, "features.employees", "64 bits"),
        (b'"\\ud800"', "features.employees", "Unicode"),
        (b'"\xff"', "features.employees", "Unicode"),
        (b"123456789012345678901234567890", "features.employees", "whole number"),
    ],
)
async def test_value_that_json_cannot_hold_is_the_error_of_its_loan_alone(
    client: httpx.AsyncClient, sent: bytes, field: str, rule: str
) -> None:
    odd = json.dumps({"loan_id": "odd", "features": make_features(1) | {"employees": "HERE"}}).encode()
    odd = odd.replace(b'"HERE"', sent)
    alone = await client.post("/predict", content=odd)
    batch = await client.post("/predict/batch", content=b'{"loans": [%s, %s]}' % (json.dumps(LOAN).encode(), odd))

    assert (alone.status_code, batch.status_code) == (422, 207)
    good, bad = batch.json()["results"]
    assert good["error"] is None
    for error in (alone.json()["error"], bad["error"]):
        assert error["field"] == field
        assert rule in error["rule"]
        assert error["value"] is not None


def nested_in(field: str, depth: int) -> bytes:
    odd: dict[str, Any] = {"loan_id": "odd", "features": make_features(1)}
    (odd["features"] if field == "employees" else odd)[field] = "HERE"
    return json.dumps(odd).encode().replace(b'"HERE"', b"[" * depth + b'"x"' + b"]" * depth)


@pytest.mark.parametrize("field", ["employees", "unknown"])
async def test_loan_of_any_depth_is_answered_and_fails_no_other(client: httpx.AsyncClient, field: str) -> None:
    """What the parser follows up to Python's limit of recursion, what comes after it need not."""
    statuses, n_followed = set[int](), 0
    for depth in range(860, 1001):
        odd = nested_in(field, depth)
        statuses.add((await client.post("/predict", content=odd)).status_code)
        batch = await client.post("/predict/batch", content=b'{"loans": [%s, %s]}' % (json.dumps(LOAN).encode(), odd))
        statuses.add(batch.status_code)
        if "results" in batch.json():
            assert batch.json()["results"][0]["error"] is None
            n_followed += 1
    assert statuses <= {200, 207, 422}
    assert n_followed > 0


async def test_bad_loan_of_a_batch_fails_no_other(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predict/batch", json={"loans": [LOAN, {"loan_id": "b"}, 3, LOAN]})
    assert answer.status_code == 207
    assert [item["error"] is None for item in answer.json()["results"]] == [True, False, False, True]
    assert (answer.json()["n_decided"], answer.json()["n_refused"]) == (2, 2)


@pytest.mark.parametrize("n_loans", [3, MAX_LOANS])
async def test_batch_of_any_size_is_answered_in_order_and_an_event_sent_twice_alike(
    client: httpx.AsyncClient, n_loans: int
) -> None:
    loans = [make_loan(number) for number in range(n_loans - 2)]
    loans += [loans[0], loans[0] | {"loan_id": "other"}]
    answer = await client.post("/predict/batch", json={"loans": loans})
    bare = await client.post("/predict/batch", json=loans)

    assert (answer.status_code, answer.headers["content-type"]) == (207, "application/json")
    *decided, conflict = answer.json()["results"]
    assert [item["decision"]["loan_id"] for item in decided] == [loan["loan_id"] for loan in loans[:-1]]
    assert decided[-1] == decided[0]
    assert (conflict["decision"], conflict["error"]["kind"]) == (None, "conflict")
    assert (bare.status_code, bare.json()) == (207, answer.json())


@pytest.mark.parametrize("n_loans", [0, MAX_LOANS + 1])
async def test_batch_has_one_loan_to_the_limit(client: httpx.AsyncClient, n_loans: int) -> None:
    answer = await client.post("/predict/batch", json={"loans": [LOAN] * n_loans})
    assert answer.status_code == 422


async def test_without_the_database_503_and_nothing_is_answered(
    client: httpx.AsyncClient, decider: FakeDecider
) -> None:
    decider.away = True
    refused = await client.post("/predict", json=LOAN)
    assert (refused.status_code, refused.json()["error"]["kind"]) == (503, "unavailable")
    assert refused.headers["retry-after"]
    decider.away = False
    assert (await client.post("/predict", json=LOAN)).status_code == 200


async def test_misspelt_feature_is_named_in_the_answer(client: httpx.AsyncClient) -> None:
    features = make_loan(1)["features"]
    features["term_month"] = features.pop("term_months")
    loan = make_loan(1) | {"features": features}
    alone = (await client.post("/predict", json=loan)).json()
    batch = (await client.post("/predict/batch", json={"loans": [loan, make_loan(2)]})).json()
    assert alone["ignored_features"] == ["term_month"]
    assert [item["decision"]["ignored_features"] for item in batch["results"]] == [["term_month"], []]


async def test_without_a_model_health_is_alive_and_says_so(client: httpx.AsyncClient) -> None:
    health = await client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "waiting for a model")
    for answer in (await client.get("/model-info"), await client.post("/reload-model")):
        assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "no_model")


async def test_unknown_path_is_404_in_the_same_shape(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing")
    assert (answer.status_code, answer.json()["error"]["kind"]) == (404, "http")


async def test_examples_in_openapi_are_decided(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path in ("/predict", "/predict/batch"):
        body = paths[path]["post"]["requestBody"]["content"]["application/json"]
        assert (await client.post(path, json=body["example"])).status_code == 200


async def test_documentation_pages_need_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    resources = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert any("swagger-ui-bundle" in resource for resource in resources)
    for resource in resources:
        assert resource.startswith("/")
        assert (await client.get(resource)).status_code == 200


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


async def test_the_trace_of_a_request_goes_on_with_each_of_its_loans(
    client: httpx.AsyncClient, decider: FakeDecider
) -> None:
    loans = [LOAN, {"loan_id": "b"}, LOAN]
    await client.post("/predict", json=LOAN, headers={"traceparent": TRACEPARENT})
    await client.post("/predict/batch", json={"loans": loans}, headers={"Traceparent": TRACEPARENT})
    await client.post("/predict", json=LOAN)
    await client.post("/predict", json=LOAN, headers={"traceparent": "00-mistyped"})
    assert decider.traceparents == [TRACEPARENT] * 3 + [None, None]


async def test_a_request_that_is_not_served_is_logged_with_its_trace(
    client: httpx.AsyncClient, decider: FakeDecider
) -> None:
    decider.away = True
    with capture_logs() as lines:
        await client.post("/predict", json=LOAN, headers={"traceparent": TRACEPARENT})
        await client.post("/predict", json=LOAN)
    assert [(line["event"], line.get("trace_id")) for line in lines] == [
        ("request_not_served", TRACE),
        ("request_not_served", None),
    ]
