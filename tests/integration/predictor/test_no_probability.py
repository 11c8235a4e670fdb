"""A loan that the version gives no probability is neither approved nor declined, and disturbs no other."""

import json
from typing import Any

import httpx
import pytest
from loanloop.sending_again import find_dead_letter, send_again
from loanloop_common.rejected_rows import fetch_dead_letters

from tests.integration.predictor.versions import make_version
from tests.integration.predictor.world import World, predict
from tests.support.eventually import eventually
from tests.support.loans import make_features, make_loan
from tests.support.silent_models import ABOVE, NUMBER, silent_above
from tests.support.topics import read_all

pytestmark = pytest.mark.timeout(600)


def large(number: int) -> dict[str, Any]:
    return make_loan(number, features=make_features(number) | {NUMBER: ABOVE})


async def deploy(world: World, bundle: bytes, seq: int) -> None:
    await world.deploy(await world.store_model(bundle), seq)

    async def applied() -> bool:
        return await world.applied() == seq

    await eventually(applied, within_s=40)


async def test_it_is_answered_with_an_error_or_becomes_a_dead_letter_for_another_version(world: World) -> None:
    url = await world.start_predictor()
    await deploy(world, silent_above(make_version("v1")), 1)

    refused = await predict(url, large(100))
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        batch = await client.post("/predict/batch", json={"loans": [make_loan(0), large(101), make_loan(1)]})
    await world.produce([*map(make_loan, range(2, 30)), large(102), *map(make_loan, range(30, 50))])
    rows = await world.decided(50)
    await world.consumed(51)

    error = refused.json()["error"]
    assert (refused.status_code, error["kind"]) == (500, "no_probability")
    assert error["message"] == "v1 gives this loan no probability; it is not decided"
    assert batch.status_code == 207
    assert [item["error"] and item["error"]["kind"] for item in batch.json()["results"]] == [
        None,
        "no_probability",
        None,
    ]
    assert {row["loan_id"] for row in rows} == {make_loan(number)["loan_id"] for number in range(50)}
    assert len(await world.scored()) == 50
    (letter,) = await fetch_dead_letters(world.pool, reason=None, topic=None, replayed=True, limit=10)
    assert (letter.service, letter.reason, letter.message) == ("predictor", "no_probability", error["message"])
    (published,) = await read_all(world.infrastructure.kafka_bootstrap, "loan.received.dlq")
    assert published.key == large(102)["loan_id"].encode()

    await deploy(world, make_version("v2"), 2)
    await send_again(world.pool, world.broker, await find_dead_letter(world.pool, letter.id), by="desk")
    (later,) = [row for row in await world.decided(51) if row["version"] == "v2"]
    assert later["loan_id"] == large(102)["loan_id"]


async def test_what_another_version_has_decided_stays_decided_and_is_published_again(world: World) -> None:
    url = await world.start_predictor()
    await deploy(world, make_version("v1"), 1)
    asked, streamed = large(1), large(2)
    first = await predict(url, asked)
    await world.produce([streamed])
    await world.decided(2)

    await deploy(world, silent_above(make_version("v2")), 2)
    again, other = await predict(url, asked), await predict(url, asked | {"loan_id": "other"})
    await world.produce([streamed])  # as after a crash between the decision and its publication
    await world.consumed(3)

    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 409)
    assert again.json() == first.json()
    assert await world.n_decided() == 2
    ids = [event.loan_id for event in await world.scored()]
    assert (ids.count(asked["loan_id"]), ids.count(streamed["loan_id"])) == (1, 2)
    assert not await fetch_dead_letters(world.pool, reason=None, topic=None, replayed=True, limit=10)


async def test_of_two_loans_under_one_event_id_the_one_that_is_decided_is_published(world: World) -> None:
    url = await world.start_predictor()
    await deploy(world, silent_above(make_version("v1")), 1)
    without, decided = large(1), make_loan(1)
    assert without["event_id"] == decided["event_id"]

    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        answer = await client.post("/predict/batch", json={"loans": [without, decided]})
    await world.consumed(1)

    first, second = answer.json()["results"]
    assert (first["error"]["kind"], second["error"]) == ("conflict", None)
    (row,) = await world.decisions()
    (received,) = await read_all(world.infrastructure.kafka_bootstrap, "loan.received")
    assert row["features"][NUMBER] == decided["features"][NUMBER]
    assert json.loads(received.value)["features"][NUMBER] == decided["features"][NUMBER]
