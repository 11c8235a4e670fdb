"""Who may ask what of REST: each route of its OpenAPI document, for nobody, somebody unknown, and each role."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
from loanloop_predictor.api import Access, make_api
from loanloop_predictor.domain.access import RateLimit, Role
from loanloop_predictor.domain.access_keys import caller_of, make_key

from tests.support.loans import make_features
from tests.support.rest_in_memory import FakeDecider, api_in_memory

NOW = 1_800_000_000.0
RANKS = [None, *Role]
MADE = {role: make_key(f"of-{role}", role, bytes([number]) * 32) for number, role in enumerate(Role)}
KEYS = {role: key for role, (key, _) in MADE.items()}
KNOWN = {kept.key_id: kept for _, kept in MADE.values()}
# What each route asks for; a route that is added has to be added here.
NEEDED: dict[tuple[str, str], Role | None] = {
    ("GET", "/health"): None,
    ("GET", "/alive"): None,
    ("GET", "/metrics"): Role.READ,
    ("GET", "/model-info"): Role.READ,
    ("POST", "/predict"): Role.SCORE,
    ("POST", "/predict/batch"): Role.SCORE,
    ("POST", "/reload-model"): Role.OPERATE,
}
LOAN = {"loan_id": "a", "features": make_features(1)}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def client_of(
    *, per_s: float = 0, burst: int = 1, clock: Clock | None = None, is_metrics_open: bool = False
) -> httpx.AsyncClient:
    rate = RateLimit(per_s=per_s, burst=burst)
    access = Access(
        rate, by_key=lambda key: caller_of(key, KNOWN, NOW), is_metrics_open=is_metrics_open, clock=clock or Clock()
    )
    transport = httpx.ASGITransport(make_api(api_in_memory(FakeDecider()), access), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://predictor")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for path, methods in document["paths"].items():
        for method in methods:
            yield method.upper(), path


async def ask(client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    body = {"/predict": LOAN, "/predict/batch": {"loans": [LOAN]}}.get(path)
    return await client.request(method, path, headers=headers, json=body)


def mutilated() -> Iterator[str]:
    key = KEYS[Role.OPERATE]
    yield key[:-1] + ("A" if key[-1] != "A" else "B")
    yield key + "A"
    yield key.replace("of-operate", "of-score")
    yield key.replace("of-operate", "nobody")
    yield "loanloop_"
    yield "Bearer"
    yield ""
    yield "ey.J.x"


async def test_every_route_of_the_document_lets_in_its_role_and_those_above() -> None:
    async with client_of() as client:
        document = (await client.get("/openapi.json", headers=bearer(KEYS[Role.READ]))).json()
        assert set(operations(document)) == set(NEEDED)
        for (method, path), needed in NEEDED.items():
            for role in RANKS:
                answer = await ask(client, method, path, bearer(KEYS[role]) if role else {})
                expected = needed is None or (role is not None and RANKS.index(role) >= RANKS.index(needed))
                is_let_in = answer.status_code not in (401, 403)
                assert is_let_in == expected, (method, path, role, answer.status_code)
                assert is_let_in or answer.status_code == (403 if role else 401)


async def test_every_route_but_health_and_alive_turns_away_a_key_that_is_none() -> None:
    async with client_of() as client:
        for method, path in NEEDED:
            for wrong in mutilated():
                for headers in (bearer(wrong), {"X-API-Key": wrong}, {"Authorization": wrong}):
                    answer = await ask(client, method, path, headers)
                    assert answer.status_code == (200 if path in {"/health", "/alive"} else 401), (path, headers)
                    assert wrong not in answer.text or len(wrong) < 10


async def test_a_decision_is_kept_with_whose_key_asked_for_it() -> None:
    decider, batch = FakeDecider(), {"loans": [LOAN, {**LOAN, "loan_id": "b"}]}
    access = Access(RateLimit(per_s=0, burst=1), by_key=lambda key: caller_of(key, KNOWN, NOW))
    for guarded in (access, None):
        transport = httpx.ASGITransport(make_api(api_in_memory(decider), guarded))
        async with httpx.AsyncClient(transport=transport, base_url="http://predictor") as client:
            await client.post("/predict", headers=bearer(KEYS[Role.SCORE]), json=LOAN)
            await client.post("/predict/batch", headers=bearer(KEYS[Role.OPERATE]), json=batch)

    assert decider.requested_by == ["key of-score", "key of-operate", "key of-operate", None, None, None]


async def test_a_probe_that_asks_for_the_head_alone_needs_no_key() -> None:
    async with client_of() as client:
        assert (await client.head("/health")).status_code == 200
        assert (await client.head("/alive")).status_code == 200
        assert (await client.get("/alive")).json() == {"status": "alive"}
        assert (await client.head("/openapi.json")).status_code == 401


async def test_what_is_no_route_of_the_document_is_open_to_nobody() -> None:
    paths = ("/docs", "/openapi.json", "/", "/nothing", "/predict/", "//predict", "/health/", "/%70redict")
    async with client_of() as client:
        for path in paths:
            for method in ("GET", "POST", "DELETE", "OPTIONS"):
                assert (await client.request(method, path)).status_code == 401, (method, path)


async def test_key_comes_in_either_header_and_from_a_browsers_question_for_reading_alone() -> None:
    basic = {"Authorization": "Basic " + base64.b64encode(f"me:{KEYS[Role.OPERATE]}".encode()).decode()}
    async with client_of() as client:
        assert (await ask(client, "POST", "/predict", {"X-API-Key": KEYS[Role.SCORE]})).status_code == 200
        assert (await client.get("/openapi.json", headers=basic)).status_code == 200
        assert (await ask(client, "POST", "/predict", basic)).status_code == 401
        asked = (await client.get("/docs")).headers.get_list("www-authenticate")
        assert [challenge.split()[0] for challenge in asked] == ["Bearer", "Basic"]


@pytest.mark.parametrize(
    "sent", [b"Basic \xe9", b"Basic bad", b"Basic ====", b"Bearer \xe9", b"\xe9", b"Bearer \x85.\xa0.\xff"]
)
async def test_header_that_is_no_login_is_turned_away_like_any_other(sent: bytes) -> None:
    with structlog.testing.capture_logs() as lines:
        async with client_of() as client:
            for name in (b"Authorization", b"X-API-Key"):
                answer = await client.get("/model-info", headers=[(name, sent)])
                assert (answer.status_code, answer.json()["error"]["kind"]) == (401, "unauthenticated")
    assert [line["event"] for line in lines] == ["request_refused"]  # one a second, however many come


async def test_refusals_say_in_one_sentence_what_to_do() -> None:
    async with client_of() as client:
        nothing = (await ask(client, "POST", "/predict", {})).json()["error"]
        wrong = (await ask(client, "POST", "/predict", bearer("loanloop_of-read_x"))).json()["error"]
        less = (await ask(client, "POST", "/predict", bearer(KEYS[Role.READ]))).json()["error"]
    assert nothing["message"] == "no key was sent: send one as `Authorization: Bearer KEY` or as `X-API-Key: KEY`"
    assert wrong["message"] == "this API key is not known here: it was mistyped, revoked, or made just now"
    assert less["message"] == "key of-read has the role read, and POST /predict needs score: use a key that has it"
    assert [error["kind"] for error in (nothing, wrong, less)] == ["unauthenticated", "unauthenticated", "forbidden"]


async def test_metrics_are_open_where_the_setting_says_so_and_nothing_else_is() -> None:
    async with client_of(is_metrics_open=True) as client:
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/model-info")).status_code == 401
        assert (await client.post("/metrics")).status_code == 401


async def test_one_key_over_its_share_waits_and_another_does_not() -> None:
    clock = Clock()
    async with client_of(per_s=2, burst=3, clock=clock) as client:
        statuses = [(await ask(client, "POST", "/predict", bearer(KEYS[Role.SCORE]))).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        refused = await ask(client, "POST", "/predict", bearer(KEYS[Role.SCORE]))
        assert (refused.headers["Retry-After"], refused.json()["error"]["kind"]) == ("1", "too_many_requests")
        assert (await ask(client, "POST", "/predict", bearer(KEYS[Role.OPERATE]))).status_code == 200
        clock.now = 0.5
        again = [(await ask(client, "POST", "/predict", bearer(KEYS[Role.SCORE]))).status_code for _ in range(2)]
        assert again == [200, 429]


async def test_reload_is_logged_with_the_one_who_asked() -> None:
    with structlog.testing.capture_logs() as lines:
        async with client_of() as client:
            await ask(client, "POST", "/reload-model", bearer(KEYS[Role.OPERATE]))
            await ask(client, "POST", "/reload-model", bearer(KEYS[Role.SCORE]))
    (done,) = [line for line in lines if line["event"] == "operator_action"]
    (refused,) = [line for line in lines if line["event"] == "request_refused"]
    assert (done["action"], done["actor"]) == ("reload-model", "key of-operate")
    assert (refused["path"], "key of-score" in refused["reason"]) == ("/reload-model", True)
    assert not any(key in str(lines) for key in KEYS.values())
