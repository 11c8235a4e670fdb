"""A real browser without a window, where one is installed, and `loanloop page` for it to look at."""

import asyncio
import os
import shutil
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_NONE = "no Chromium is on PATH, so the page was looked at by no browser: install Debian's chromium, or Chrome."


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """Skips the test, and says so, where there is no browser."""
    program = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(_NONE)
    async with async_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has none to give
        browser = await playwright.chromium.launch(executable_path=program, args=options)
        try:
            yield browser
        finally:
            await browser.close()


class Visit:
    """A page that was opened, and whatever went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", lambda said: self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        page.on("request", lambda asked: self.elsewhere.append(asked.url) if not _is_own(asked.url, url) else None)


def _is_own(asked: str, url: str) -> bool:
    return asked.startswith((url, "data:"))


@asynccontextmanager
async def visiting(
    browser: Browser, url: str, *, width: int, dark: bool = False, key: str | None = None
) -> AsyncIterator[Visit]:
    """With a key typed into the browser's own question for a password."""
    context = await browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if dark else "light",
        http_credentials={"username": "anyone", "password": key} if key else None,
    )
    try:
        visit = Visit(await context.new_page(), url)
        await visit.page.goto(url)
        yield visit
    finally:
        await context.close()


@asynccontextmanager
async def serving(folder: Path, **settings: str) -> AsyncIterator[str]:
    """The URL of a `loanloop page` on what the settings name."""
    environment: Mapping[str, str] = {**os.environ, **settings, "PYTHONUNBUFFERED": "1"}  # noqa: TID251 - handed down
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loanloop", "page", "--port", "0", "--data-dir", str(folder), "--every", "0.5",
        env=environment, cwd=folder, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip
    assert process.stdout
    try:
        first = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        assert first.startswith("The page is at "), first + (await process.stdout.read()).decode()
        yield (
            first.split()[4].rstrip(";").replace(socket.gethostname(), "127.0.0.1")
        )  # the name of a machine may not resolve
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
    assert process.returncode == 0
