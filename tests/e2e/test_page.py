"""The page as a person has it: in a browser, on four services that run, and where something is away."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from loanloop_common.events import Topic
from loanloop_predictor.domain.access import Role
from loanloop_predictor.domain.access_keys import make_key
from loanloop_predictor.store.keys_file import changed_keys
from playwright.async_api import Browser, expect

from tests.e2e.world import World, loans
from tests.support.browser import Visit, browsing, serving, visiting
from tests.support.database_users import dsn_of_reader

pytestmark = pytest.mark.timeout(600)

BAD_ID = "<img src=x onerror=alert(1)><script>alert(2)</script>"
IN_TIME_MS = 30_000


async def decided_and_known(world: World) -> None:
    """A first model, decisions under it, and outcomes from which days are judged."""
    await world.start()
    history = await world.first_model()
    await world.decide(loans(24 * 20, first=len(history), later=timedelta(days=365)))


async def decide_one(world: World, loan_id: str) -> None:
    """Loans of the same event are one: this is a new one."""
    loan = replace(loans(1, first=9000)[0], loan_id=loan_id, event_id=str(uuid4()))
    await world.send(Topic.LOAN_RECEIVED, [loan.received])
    await world.decided([loan.event_id])


def settings_of(world: World) -> dict[str, str]:
    return {**world.settings, "LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": world.infrastructure.kafka_bootstrap}


def make_key_file(file: Path) -> str:
    key, kept = make_key("viewer", Role.READ, bytes(32))
    with changed_keys(file) as keys:
        keys["viewer"] = kept
    return key


async def check_what_is_seen(visit: Visit, *, width: int) -> None:
    page = visit.page
    await expect(page.get_by_role("status")).to_contain_text("Everything is at work.", timeout=IN_TIME_MS)
    for name in ("The loop", "Versions", "Training", "Newest decisions", "Alerts"):
        await expect(page.get_by_role("heading", name=name)).to_be_visible()
    await expect(page.get_by_role("img", name="of 7 days, from")).to_be_visible(timeout=IN_TIME_MS)
    line = await page.locator("path.line").bounding_box()
    assert line is not None
    assert line["width"] > width / 3
    await expect(page.get_by_role("table", name="Versions")).to_contain_text("v1 live")
    await expect(page.get_by_text(BAD_ID)).to_be_visible(timeout=IN_TIME_MS)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert await page.evaluate("[...document.querySelectorAll('.scroll')].every(t => t.scrollWidth <= t.clientWidth)")


async def test_the_loop_is_seen_on_a_desk_and_by_key_on_a_phone(world: World, tmp_path: Path) -> None:
    async with browsing() as browser:
        await decided_and_known(world)
        await decide_one(world, BAD_ID)
        reader = settings_of(world) | {"LOANLOOP_POSTGRES__DSN": await dsn_of_reader(world.dsn)}
        key = make_key_file(tmp_path / "keys")
        for_all = {"LOANLOOP_PAGE__HOST": "0.0.0.0", "LOANLOOP_PREDICTOR__KEYS_FILE": str(tmp_path / "keys")}
        for width, more, typed in ((1280, {}, None), (390, for_all, key)):
            async with serving(tmp_path, **reader, **more) as url:
                async with visiting(browser, url, width=width, dark=typed is None, key=typed) as visit:
                    await check_what_is_seen(visit, width=width)
                    await visit.page.screenshot(path=tmp_path / f"{width}.png", full_page=True)
                    await decide_one(world, f"seen-live-{width}")
                    await expect(visit.page.get_by_text(f"seen-live-{width}")).to_be_visible(timeout=IN_TIME_MS)
                assert visit.complaints == []
                assert visit.elsewhere == []
        await say_what_is_away(browser, world, tmp_path)


async def say_what_is_away(browser: Browser, world: World, folder: Path) -> None:
    nobody = "127.0.0.1:1"
    no_kafka = settings_of(world) | {"LOANLOOP_KAFKA__BOOTSTRAP_SERVERS": nobody}
    no_database = settings_of(world) | {"LOANLOOP_POSTGRES__DSN": f"postgresql://loanloop@{nobody}/loanloop"}
    for settings, said in ((no_kafka, "Kafka does not answer"), (no_database, "PostgreSQL"), ({}, "nothing runs on")):
        async with serving(folder, **settings) as url, visiting(browser, url, width=390) as visit:
            await expect(visit.page.get_by_role("status")).to_contain_text(said, timeout=IN_TIME_MS)
            assert await visit.page.evaluate("document.documentElement.scrollWidth") <= 390
