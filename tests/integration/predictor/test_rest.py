"""REST of a predictor as a process; one serves all tests, so that each uses loans of its own."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.integration.predictor.versions import make_version
from tests.integration.predictor.world import World, get, predict
from tests.support.eventually import eventually
from tests.support.loans import make_features, make_loan

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
async def url(shared_world: World) -> str:
    await shared_world.deploy(await shared_world.store_model(make_version("v1")), 1)
    url = await shared_world.start_predictor(
        LOANLOOP_PREDICTOR__BODY_WITHIN_S="1", LOANLOOP_PREDICTOR__MAX_REQUESTS="4"
    )
    await eventually(shared_world.applied)
    return url


async def test_request_sent_again_without_its_date_gets_the_same_answer(url: str) -> None:
    loan = {"event_id": make_loan(9)["event_id"], "loan_id": "a", "features": make_features(9)}
    first, second = await predict(url, loan), await predict(url, loan)
    assert second.status_code == 200
    assert first.json() == second.json()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"features": make_features(1) | {"employees": -1}}, "features.employees"),
        ({"features": make_features(1) | {"low_doc": "maybe"}}, "features.low_doc"),
        ({"loan_id": ""}, "loan_id"),
        ({"event_id": "no"}, "event_id"),
        ({"outcome": {"defaulted": True}}, "outcome"),
    ],
)
async def test_422_names_field_value_and_rule(url: str, change: dict[str, Any], field: str) -> None:
    answer = await predict(url, {"loan_id": "a", "features": make_features(1)} | change)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["field"] == field
    assert error["rule"]
    assert "value" in error


async def test_batch_answers_each_loan_in_its_place(url: str) -> None:
    good = {"loan_id": "a", "features": make_features(1)}
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        mixed = await client.post("/predict/batch", json={"loans": [good, {"loan_id": "b"}, good]})
        many = await client.post("/predict/batch", json={"loans": [good] * 1001})
        large = await client.post("/predict/batch", content=b" " * 5_000_001)
        no_json = await client.post("/predict", content=b"{")

    assert mixed.status_code == 207
    assert [item["error"] is None for item in mixed.json()["results"]] == [True, False, True]
    assert many.status_code == 422
    assert large.status_code == 413
    assert no_json.status_code == 422


async def test_bodies_that_stall_take_the_room_of_others_only_until_their_time_is_up(url: str) -> None:
    loan = {"loan_id": "patient", "features": make_features(2)}
    stalling = [asyncio.create_task(_answer_to_half_a_body(url)) for _ in range(4)]

    async def is_turned_away() -> bool:
        answer = await predict(url, loan)
        return (answer.status_code, "retry-after" in answer.headers) == (503, True)

    await eventually(is_turned_away)
    assert [answer.split(b"\r\n")[0] for answer in await asyncio.gather(*stalling)] == [
        b"HTTP/1.1 408 Request Timeout"
    ] * 4
    assert (await predict(url, loan)).status_code == 200


async def _answer_to_half_a_body(url: str) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /predict HTTP/1.1\r\nHost: predictor\r\nContent-Length: 100\r\n\r\n{")
    answer = await reader.read(65_536)
    writer.close()
    return answer


async def test_client_that_hangs_up_in_mid_body_is_no_error(url: str, shared_world: World) -> None:
    host, port = url.removeprefix("http://").split(":")
    for _ in range(8):  # twice as many as may be in flight
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /predict HTTP/1.1\r\nHost: predictor\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    async def is_answered() -> bool:
        return (await predict(url, make_loan(97))).status_code == 200

    await eventually(is_answered)
    assert "request_failed" not in shared_world.infrastructure.log_of("predictor").read_text()


async def test_length_of_thousands_of_digits_is_read_as_the_number_that_it_is(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /predict HTTP/1.1\r\nHost: predictor\r\nContent-Length: " + b"0" * 5000 + b"2\r\n\r\n{}")
    assert (await reader.readline()).split()[1] == b"422"
    writer.close()


async def test_model_info_and_openapi_say_what_serves(url: str) -> None:
    info = (await get(url, "/model-info")).json()
    assert (info["version"], info["portfolio"], info["deployment_seq"]) == ("v1", "sba", 1)
    assert (info["kind"], info["weights"]) == ("tabtransformer", {})
    assert "term_months" in info["features"]
    assert [warning["field"] for warning in info["warnings"]] == ["term_months"]
    body = (await get(url, "/openapi.json")).json()["paths"]["/predict"]["post"]["requestBody"]
    example = body["content"]["application/json"]["example"]
    assert (await predict(url, example)).status_code == 200
