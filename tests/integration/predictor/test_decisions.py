"""One decision for each loan, by whichever way it comes, however often, whatever is deployed meanwhile."""

from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.integration.predictor.versions import make_version
from tests.integration.predictor.world import World, get, predict
from tests.support.eventually import eventually
from tests.support.loans import as_bytes, make_features, make_loan

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def url(world: World) -> str:
    await world.deploy(await world.store_model(make_version("v1")), 1)
    url = await world.start_predictor()
    await eventually(world.applied)
    return url


async def test_stream_and_rest_give_the_same_bits_whatever_the_batch(world: World, url: str) -> None:
    numbers = range(301)
    await world.produce(make_loan(number) for number in numbers)
    streamed = {row["loan_id"]: row["probability"] for row in await world.decided(301)}

    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        alone = [
            (await client.post("/predict", json={"loan_id": f"r-{n}", "features": make_features(n)})).json()
            for n in range(5)
        ]
        loans = [{"loan_id": f"b-{n}", "features": make_features(n)} for n in numbers]
        together = (await client.post("/predict/batch", json={"loans": loans})).json()["results"]

    for n in range(5):
        assert alone[n]["probability"] == streamed[f"loan-{n}"]
    for n in numbers:
        assert together[n]["decision"]["probability"] == streamed[f"loan-{n}"]


async def test_redelivered_loan_keeps_its_decision_after_a_swap(world: World, url: str) -> None:
    await world.produce([make_loan(1), make_loan(2)])
    before = await world.decided(2)

    await world.deploy(await world.store_model(make_version("v2", slope=3.0)), 2)
    await eventually(lambda: _is(world.applied(), 2))
    await world.produce([make_loan(1), make_loan(2), make_loan(3), make_loan(1)])
    await world.consumed(6)

    after = await world.decisions()
    assert [dict(row) for row in after[:2]] == [dict(row) for row in before]
    assert after[2]["version"] == "v2"
    published = await world.scored()
    assert {str(e.event_id) for e in published} == {str(row["decision_id"]) for row in after}
    assert {e.probability for e in published if e.loan_id == "loan-1"} == {before[0]["probability"]}


async def test_rest_decision_is_found_decided_by_the_stream(world: World, url: str) -> None:
    answer = (await predict(url, {"loan_id": "a", "features": make_features(7)})).json()
    await world.consumed(1)

    (row,) = await world.decisions()
    assert str(row["decision_id"]) == answer["decision_id"]
    assert row["channel"] == "rest"
    (event,) = await world.scored()
    assert str(event.event_id) == answer["decision_id"]
    assert str(event.loan_event_id) == answer["event_id"]
    assert event.decided_at == row["decided_at"] == datetime.fromisoformat(answer["decided_at"])


async def test_batch_with_loans_decided_before_decides_and_publishes_the_others(world: World, url: str) -> None:
    before = (await predict(url, make_loan(1))).json()
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        loans = [make_loan(2), make_loan(1), make_loan(3), make_loan(2)]
        items = (await client.post("/predict/batch", json={"loans": loans})).json()["results"]
    await world.consumed(3)

    assert items[1]["decision"] == before
    assert items[0] == items[3]
    stored = {str(row["decision_id"]) for row in await world.decisions()}
    assert stored == {item["decision"]["decision_id"] for item in items}
    assert await world.ids_published() == dict.fromkeys(stored, 1)


async def test_same_event_with_another_payload_is_refused(world: World, url: str) -> None:
    loan = make_loan(1)
    await world.produce([loan])
    await world.decided(1)

    again = await predict(url, loan)
    other = await predict(url, loan | {"features": make_features(2)})
    await world.produce([loan | {"features": make_features(3)}])
    await world.consumed(2)

    assert again.status_code == 200
    assert other.status_code == 409
    assert other.json()["error"]["kind"] == "conflict"
    assert await world.n_decided() == 1
    assert 'skipped_total{reason="conflict"} 1.0' in (await get(url, "/metrics")).text


async def test_keys_outlive_their_partition_so_that_no_loan_is_decided_again(world: World, url: str) -> None:
    streamed, requested = make_loan(1), make_loan(2)
    undated = {"event_id": make_loan(3)["event_id"], "loan_id": "undated", "features": make_features(3)}
    await world.produce([streamed])
    await predict(url, requested)
    await predict(url, undated)
    await world.consumed(3)
    published = await world.ids_published()

    await world.drop_decisions()
    await world.produce([streamed, make_loan(4)])
    await world.consumed(5)
    answers = [await predict(url, loan) for loan in (streamed, requested, undated)]
    other = await predict(url, requested | {"features": make_features(5)})
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        batch = await client.post("/predict/batch", json={"loans": [requested, make_loan(6)]})

    assert [answer.status_code for answer in answers] == [410, 410, 410]
    assert {answer.json()["error"]["kind"] for answer in answers} == {"not_kept"}
    assert "it is not decided again" in answers[0].json()["error"]["message"]
    assert other.status_code == 409
    assert [item["error"] is None for item in batch.json()["results"]] == [False, True]
    assert [row["loan_id"] for row in await world.decisions()] == ["loan-4", "loan-6"]
    assert not set(published) & {str(row["decision_id"]) for row in await world.decisions()}
    assert 'skipped_total{reason="not_kept"} 1.0' in (await get(url, "/metrics")).text


async def test_invalid_and_history_are_skipped_and_nothing_else(world: World, url: str) -> None:
    history = make_loan(2, outcome={"defaulted": True, "known_at": "2008-01-01T00:00:00Z"})
    bad = as_bytes(make_loan(3)).replace(b'"employees":', b'"employed":')
    await world.produce_raw([(b"1", as_bytes(make_loan(1))), (b"2", as_bytes(history)), (b"3", bad), (b"4", b"{")])
    await world.consumed(4)

    assert [row["loan_id"] for row in await world.decisions()] == ["loan-1"]
    metrics = (await get(url, "/metrics")).text
    assert 'skipped_total{reason="invalid"} 2.0' in metrics
    assert 'skipped_total{reason="history"} 1.0' in metrics


async def _is(value: Any, expected: Any) -> bool:
    return bool(await value == expected)
