"""What the page of `loanloop page` shows, and to whom."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from loanloop.observe.observer import Observer
from loanloop.observe.snapshot import Alert, Decision, Snapshot
from loanloop.page.access import KeysWatch
from loanloop.page.document import Document, policy_of
from loanloop.page.looking import Seen, SharedLook
from loanloop.page.markup import Markup, joined, tag
from loanloop.page.plot import Frame, in_words
from loanloop.page.sections import SECTIONS, sections_of
from loanloop.page.serving import CannotServe, serve_page
from loanloop.page.web import LOOPBACK_NAMES, OnlyFor, make_app
from loanloop_common.errors import Unavailable
from loanloop_common.listening import PortTaken
from loanloop_predictor.domain.access import Role
from loanloop_predictor.domain.access_keys import KeysInvalid, make_key
from loanloop_predictor.store.keys_file import changed_keys

from tests.support.eventually import eventually
from tests.support.snapshots import (
    NOW,
    event_time,
    make_breach,
    make_counts,
    make_days,
    make_deployment,
    make_instance,
    make_lag,
    make_snapshot,
    make_training,
    make_version,
)

BAD_NAME = '"><script>alert(1)</script>'


def make_decision(**overrides: Any) -> Decision:
    facts: dict[str, Any] = {
        "loan_id": "loan-1", "occurred_at": NOW, "probability": 0.25, "threshold": 0.4, "decision": "approve",
        "version": "v1", "channel": "rest", "decided_at": NOW,
    }  # fmt: skip
    return Decision(**(facts | overrides))


def busy() -> Snapshot:
    return make_snapshot(
        versions=(make_version(1), make_version(2, passed=False)),
        deployments=(make_deployment(1),),
        days=make_days(date(2005, 2, 1), [0.85] * 60 + [None] * 5 + [0.7] * 60),
        breaches=(make_breach(opened_on=date(2005, 5, 1)),),
        instances=tuple(make_instance(name) for name in ("ingest", "predictor", "trainer", "evaluator")),
        lags=(make_lag("loan.received", "ingest", 7), make_lag("loan.received", "predictor", 0)),
        training=make_training(progress={"epoch": 3, "epochs": 6, "loss": 0.2131}),
        decisions=(make_decision(),),
    )


def text_of(seen: Seen) -> str:
    return re.sub(r"<[^>]+>", " ", "".join(sections_of(seen).values()))


def test_whatever_comes_from_outside_is_text_and_no_markup() -> None:
    alert = Alert(service="ingest", kind=BAD_NAME, severity="critical", message=BAD_NAME, raised_at=NOW)
    snapshot = replace(
        busy(),
        rule=replace(busy().rule, portfolio=BAD_NAME, warnings=((BAD_NAME, BAD_NAME),)),
        decisions=(make_decision(loan_id=BAD_NAME, version=BAD_NAME),),
        alerts=(alert,),
        instances=(replace(make_instance("ingest"), instance_id=BAD_NAME, version=BAD_NAME),),
        training=make_training("failed", error=BAD_NAME),
        rejected_by_reason={BAD_NAME: 1},
        kafka_problem=BAD_NAME,
    )

    page = "".join(sections_of(Seen(snapshot, problem=BAD_NAME)).values())

    assert "<script" not in page
    assert BAD_NAME not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10


def test_attributes_are_escaped_and_markup_is_kept() -> None:
    assert tag("p", "<b>", tag("i", "&"), title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;<i>&amp;</i></p>'
    assert joined(Markup("<br>"), None, "") == "<br>"


def test_counts_that_do_not_add_up_by_themselves_say_why() -> None:
    text = text_of(Seen(make_snapshot(loans=make_counts(received=1, n_loans=108))))

    assert "received counts this Kafka alone" in text
    assert "2 stored tell again of a loan" in text


def test_every_part_has_its_place_in_the_file() -> None:
    assert Document().places == {"notice", "stamp", *SECTIONS}
    assert set(sections_of(Seen())) == Document().places


def test_the_preset_and_its_leak_are_named_at_the_top_and_at_the_figures() -> None:
    sections = sections_of(Seen(busy()))

    assert "preset <strong>sba</strong>" in sections["head"]
    assert "LEAK: term_months. </strong>it was edited after the outcome" in sections["head"]
    assert "say nothing about lending" in sections["head"]
    assert "LEAK: term_months" in sections["metric"]


def test_the_page_shows_the_loop_its_versions_training_and_decisions() -> None:
    said = text_of(Seen(busy()))

    for words in ("loan.received:  7  waiting", "v1  live", "v2 was rejected", "epoch 3/6", "loan-1", "0.250"):
        assert words in said
    assert '<progress value="3" max="6"' in sections_of(Seen(busy()))["training"]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen(), "Looking for the installation"),
        (Seen(problem="nothing runs on here: start loanloop up"), "nothing runs on here"),
        (Seen(busy(), problem="PostgreSQL at x does not answer"), "does not answer; what follows is of 12:00:00 UTC"),
        (Seen(replace(busy(), kafka_problem="Kafka does not answer: x")), "Kafka does not answer"),
        (Seen(replace(busy(), instances=(make_instance("trainer", age_s=60.0),))), "Away: trainer."),
        (Seen(replace(busy(), instances=())), "Not running: ingest, predictor, trainer, evaluator."),
        (Seen(replace(busy(), instances=busy().instances[1:])), "Not running: ingest."),
        (Seen(make_snapshot(instances=(make_instance("ingest"),))), "No model is live yet."),
        (Seen(busy()), "breach of v1 since 2005-05-01"),
        (Seen(replace(busy(), breaches=())), "Everything is at work."),
    ],
)
def test_what_is_amiss_is_said_at_the_top(seen: Seen, words: str) -> None:
    assert words in sections_of(seen)["notice"]


def test_what_is_said_of_a_service_that_is_away_does_not_change_while_it_is_away() -> None:
    """It is read out when it changes."""
    notices = {
        sections_of(Seen(replace(busy(), instances=(make_instance("trainer", age_s=age_s),))))["notice"]
        for age_s in (30.0, 60.0)
    }

    assert len(notices) == 1


def test_the_chart_marks_threshold_deployments_and_breaches_and_says_them_in_words() -> None:
    snapshot = replace(busy(), deployments=(replace(make_deployment(1), live_from_event_time=event_time(2005, 3)),))
    chart = sections_of(Seen(snapshot))["metric"]

    assert chart.count('class="threshold"') == 2  # the line and its label
    assert chart.count('class="deployment"') == 1
    assert chart.count('class="breach"') == 1
    assert in_words(snapshot) == (
        "F1 of 7 days, from 2005-02-01 to 2005-06-05; newest 0.700, lowest 0.700 on 2005-04-07, threshold 0.8; "
        "v1 live from 2005-03-01; breach of v1 on 2005-05-01"
    )


def test_days_without_a_value_part_the_line() -> None:
    (line,) = re.findall(r'<path d="([^"]+)" class="line"', sections_of(Seen(busy()))["metric"])

    assert line.count("M") == 2


def test_one_day_alone_is_drawn() -> None:
    frame = Frame(make_days(date(2005, 1, 1), [0.9]), 0.8)

    assert 0 <= frame.x(date(2005, 1, 1)) <= 100
    assert 'class="line"' in sections_of(Seen(make_snapshot(days=make_days(date(2005, 1, 1), [0.9]))))["metric"]


def test_the_page_says_what_days_wait_for_as_long_as_none_is_judged() -> None:
    assert "its loans are 365 days old (maturity_days)." in sections_of(Seen(make_snapshot()))["metric"]


def test_the_chart_begins_with_the_first_judged_day_under_the_version_that_was_live_then() -> None:
    days = make_days(date(2005, 1, 1), [None] * 340 + [0.9] * 41)  # judged from 2005-12-07 to 2006-01-16
    deployments = (make_deployment(1), make_deployment(2, previous="v1"))  # live from each year's first day

    chart = sections_of(Seen(make_snapshot(days=days, deployments=deployments)))["metric"]

    assert re.search(r'd="M0 [^"]+L100 [^"]+" class="line"', chart)
    assert all(f">{day}<" in chart for day in ("7 Dec 2005", "27 Dec 2005", "16 Jan 2006"))
    assert re.findall(r'class="version">(v\d)<', chart) == ["v1", "v2"]
    assert re.findall(r'x1="([^"]+)%"[^>]*class="deployment"', chart) == ["62.5"]


def test_what_was_on_another_day_is_told_with_its_day() -> None:
    before, alert = (
        NOW - timedelta(days=3),
        Alert(
            service="ingest", kind="data_quality", severity="warning", message="bad", raised_at=NOW - timedelta(days=3)
        ),
    )
    old = replace(
        busy(),
        deployments=(replace(make_deployment(1), live_from=before),),
        decisions=(make_decision(decided_at=before),),
        alerts=(alert,),
    )

    said, today = (" ".join(text_of(Seen(one)).split()) for one in (old, replace(old, taken_at=before)))

    assert "v1 (deploy) since 2026-05-17 12:00 UTC" in said
    assert "2026-05-17 (2005-01-01)" in said
    assert said.count("2026-05-17 12:00") == 3
    assert "v1 (deploy) since 12:00:00 UTC" in today
    assert "12:00 (2005-01-01)" in today


def test_a_browser_may_run_the_files_own_script_and_no_other() -> None:
    policy = policy_of("<style>a</style><script>b</script>")

    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert policy != policy_of("<style>a</style><script>c</script>")


def test_nothing_of_the_file_comes_from_elsewhere() -> None:
    text = Document().filled(sections_of(Seen()))

    assert not re.findall(r"""(?:src|href)=["'](?!data:)|https?://|url\(|@import""", text)


class CountingObserver:
    """Looks as long as `problem` is None."""

    def __init__(self) -> None:
        self.n_looks = 0
        self.problem: Exception | None = None

    async def snapshot(self) -> Snapshot:
        self.n_looks += 1
        await asyncio.sleep(0.05)
        if self.problem:
            raise self.problem
        return busy()


@asynccontextmanager
async def looking(observer: CountingObserver, *, every_s: float) -> AsyncIterator[SharedLook]:
    @asynccontextmanager
    async def observing() -> AsyncIterator[Observer]:
        yield cast("Observer", observer)

    look = SharedLook(observing, every_s=every_s)
    running = asyncio.create_task(look.run())
    try:
        yield look
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_a_hundred_viewers_are_one_look() -> None:
    observer = CountingObserver()
    async with looking(observer, every_s=60) as look:
        seen = await asyncio.gather(*(look.newest() for _ in range(100)))
        await look.newest()

    assert all(one.snapshot for one in seen)
    assert observer.n_looks == 1


async def test_nobody_looks_for_nobody() -> None:
    observer = CountingObserver()
    async with looking(observer, every_s=0.01) as look:
        await look.newest()
        await asyncio.sleep(0.3)

    assert observer.n_looks == 1


async def asked_until(look: SharedLook, holds: Callable[[Seen], bool]) -> Seen:
    """A look is not renewed before four times as long as it took."""

    async def asked() -> Seen | None:
        seen = await look.newest()
        return seen if holds(seen) else None

    return await eventually(asked)


async def test_what_was_seen_stays_while_the_database_is_away_and_is_renewed_after() -> None:
    observer = CountingObserver()
    async with looking(observer, every_s=0.0) as look:
        await look.newest()
        observer.problem = Unavailable("PostgreSQL does not answer")
        away = await asked_until(look, lambda seen: seen.problem is not None)
        observer.problem = None
        back = await asked_until(look, lambda seen: seen.problem is None)

    assert (away.problem, away.snapshot) == ("PostgreSQL does not answer", busy())
    assert back.snapshot == busy()


async def test_a_mistake_of_ours_is_raised_as_it_is() -> None:
    observer = CountingObserver()
    observer.problem = KeyError("forgotten")

    @asynccontextmanager
    async def observing() -> AsyncIterator[Observer]:
        yield cast("Observer", observer)

    look = SharedLook(observing, every_s=0.0)
    asked = asyncio.create_task(look.newest())
    with pytest.raises(KeyError):
        await look.run()
    asked.cancel()


async def seen_busy() -> Seen:
    return Seen(busy())


def client(app: Any, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:8080", headers=headers)


async def test_the_page_its_parts_and_the_snapshot_are_served() -> None:
    async with client(make_app(seen_busy, Document())) as asking:
        page, parts = await asking.get("/"), (await asking.get("/sections.json")).json()
        facts = (await asking.get("/snapshot.json")).json()
        refused = await asking.post("/")

    assert "<!-- " not in page.text
    assert parts["loop"] in page.text
    assert (facts["problem"], facts["snapshot"]["live_version"]) == (None, "v1")
    assert facts["snapshot"]["decisions"][0]["loan_id"] == "loan-1"
    assert refused.status_code == 405


@pytest.mark.parametrize(("host", "status"), [("localhost:1", 200), ("[::1]:1", 200), ("evil.example", 421)])
async def test_without_keys_it_answers_under_the_names_of_loopback_alone(host: str, status: int) -> None:
    async with client(OnlyFor(make_app(seen_busy, Document()), LOOPBACK_NAMES), host=host) as asking:
        assert (await asking.get("/")).status_code == status


async def test_with_keys_every_route_but_health_asks_for_one(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key, kept = make_key("viewer", Role.READ, bytes(32))
    with changed_keys(file) as keys:
        keys["viewer"] = kept
    app = KeysWatch(file).guarded(make_app(seen_busy, Document()))

    async with client(app) as asking:
        for path in ("/", "/sections.json", "/snapshot.json", "/nothing"):
            refused = await asking.get(path)
            assert refused.status_code == 401
            assert 'Basic realm="loanloop", charset="UTF-8"' in refused.headers.get_list("www-authenticate")
        assert (await asking.get("/", auth=("anyone", "wrong"))).status_code == 401
        assert (await asking.get("/", auth=("anyone", key))).status_code == 200
        assert (await asking.get("/", headers={"x-api-key": key})).status_code == 200
        assert (await asking.get("/health")).json()["status"] == "ok"


async def test_a_new_key_counts_and_a_file_that_became_unreadable_is_told_by_health_alone(
    tmp_path: Path,
) -> None:
    file = tmp_path / "keys"
    (key, kept), (later_key, later) = (make_key(name, Role.READ, bytes(32)) for name in ("viewer", "later"))
    with changed_keys(file) as keys:
        keys["viewer"] = kept
    watch = KeysWatch(file, every_s=0.05)
    app = watch.guarded(make_app(seen_busy, Document(), watch.states))
    running = asyncio.create_task(watch.run())

    async with client(app) as asking:

        async def keys_are(state: str) -> bool:
            return bool((await asking.get("/health")).json()["parts"]["keys"] == state)

        async def lets_in(key: str) -> bool:
            return (await asking.get("/", auth=("anyone", key))).status_code == 200

        await eventually(lambda: keys_are("looking"))
        with changed_keys(file) as keys:
            keys["later"] = later
        await eventually(lambda: lets_in(later_key))

        file.write_text("no key at all")
        await eventually(lambda: keys_are("failing"))
        assert (await asking.get("/health")).status_code == 503
        assert await lets_in(key)
    running.cancel()


async def test_beyond_loopback_it_does_not_start_without_keys(tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match=r"on 0\.0\.0\.0 others would see the loans: add --keys-file"):
        await serve_page(tmp_path, host="0.0.0.0", port=0, keys_file=None, every_s=1, ready=print)
    with pytest.raises(KeysInvalid, match="there is no file of API keys"):
        await serve_page(tmp_path, host="0.0.0.0", port=0, keys_file=tmp_path / "none", every_s=1, ready=print)


async def test_a_port_that_is_taken_is_said_with_the_option_that_chooses_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"can't listen on 127\.0\.0\.1:{port} .*; set --port to a free port$"):
            await serve_page(tmp_path, host="127.0.0.1", port=port, keys_file=None, every_s=1, ready=print)
