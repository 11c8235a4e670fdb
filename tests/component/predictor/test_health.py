"""What /health says of a predictor that serves, while its looks for the live version fail."""

from typing import Any

import httpx
import pytest
from loanloop_common.errors import LoanloopError, Unavailable
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.polling import Poller
from loanloop_common.portfolio_file import load_portfolio
from loanloop_predictor.api import Admission, Api, TimeLimit, make_api
from loanloop_predictor.app import database_state
from loanloop_predictor.domain.plain_requests import PlainRequests
from loanloop_predictor.serving.champions import Champions
from loanloop_predictor.store.availability import DatabaseAway

from tests.support.eventually import eventually
from tests.support.models_in_memory import ModelsInMemory

PORTFOLIO = load_portfolio("sba")
SHORT = Unavailable("bundle v2 can't be loaded by OpenVINO for now: std::bad_alloc")


async def decide(_: Any) -> Any:
    raise AssertionError("nothing is asked")


async def health_of(champions: Champions, live: Poller) -> dict[str, Any]:
    api = Api(
        codec=LoanCodec(PORTFOLIO),
        plain=PlainRequests(LoanCodec(PORTFOLIO)),
        champions=champions,
        decide=decide,
        stream_state=lambda: "consuming",
        database_state=lambda: database_state(live),
        reconcile_state=lambda: live.state,
        admission=Admission(max_requests=1, max_bytes=1000),
        max_batch_loans=1,
        max_body_bytes=1000,
        max_loan_bytes=1000,
        body_within=TimeLimit(1),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(make_api(api)), base_url="http://predictor") as client:
        answer: dict[str, Any] = (await client.get("/health")).json()
        return answer


@pytest.mark.parametrize(
    ("error", "database"),
    [(DatabaseAway("PostgreSQL does not answer"), "away"), (Unavailable("no memory for the bundle"), "ok")],
)
async def test_the_database_is_away_only_if_it_was_the_reason(error: LoanloopError, database: str) -> None:
    store = ModelsInMemory()
    champions = Champions(store, PORTFOLIO, threads=1)  # type: ignore[arg-type]  # a store in memory
    store.deploy("v1")
    live = Poller(champions.reconcile, every_s=0.01, name="live_version")
    await live.start()
    await eventually(lambda: champions.current)
    before = await health_of(champions, live)

    store.failing = error
    await eventually(lambda: live.state == "failing")
    failing = await health_of(champions, live)
    store.failing = None
    await eventually(lambda: live.state == "looking")
    after = await health_of(champions, live)
    await live.stop()
    champions.serving().scorer.close()

    well = {"status": "ok", "database": "ok", "reconcile": "looking"}
    assert [{name: said[name] for name in well} for said in (before, after)] == [well, well]
    assert {name: failing[name] for name in well} == {
        "status": "degraded",
        "database": database,
        "reconcile": "failing",
    }


async def test_a_version_that_cannot_be_loaded_for_now_is_named_beside_the_one_that_serves() -> None:
    store = ModelsInMemory()
    champions = Champions(store, PORTFOLIO, threads=1)  # type: ignore[arg-type]  # a store in memory
    store.deploy("v1")
    store.deploy("v2")
    store.short_of["v2"] = SHORT
    live = Poller(champions.reconcile, every_s=0.01, name="live_version")
    await live.start()
    await eventually(lambda: champions.current)
    await eventually(lambda: live.state == "failing")
    degraded = await health_of(champions, live)
    del store.short_of["v2"]
    await eventually(lambda: champions.applied_seq == 2)
    await eventually(lambda: live.state == "looking")
    after = await health_of(champions, live)
    await live.stop()
    champions.serving().scorer.close()

    assert [degraded[name] for name in ("status", "version", "reconcile", "database", "refused")] == [
        *("degraded", "v1", "failing", "ok", None)
    ]
    assert degraded["postponed"] == {"version": "v2", "deployment_seq": 2, "reason": str(SHORT)}
    assert [after[name] for name in ("status", "version", "postponed")] == ["ok", "v2", None]
