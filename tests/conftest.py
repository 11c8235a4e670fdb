"""Fixtures that all tests share; what they do is in tests/support."""

import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from loanloop_common.kafka import create_topics

import bench  # noqa: F401 - keeps ONNX Runtime, which some tests compare with, from reporting to its makers
from tests.support import infrastructure as support
from tests.support.infrastructure import Backend

HERE = Path(__file__).parent
# Real servers start within seconds, on a busy machine within a minute.
SERVERS_TIMEOUT_S = 600


def pytest_report_header() -> str:
    backend = support.chosen_backend()
    others = [name for name in support.BACKENDS if name != backend]
    return f"backend: {backend} (not run: {', '.join(others)}; choose by LOANLOOP_TEST_BACKEND)"


def pytest_configure() -> None:
    # Begun in the background of a script, pytest ignores Ctrl-C, as would the commands that tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if refusal := support.refusal():
        raise pytest.UsageError(refusal)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for other in set(support.BACKENDS) - {support.chosen_backend()}:
            if item.get_closest_marker(other):
                item.add_marker(
                    pytest.mark.skip(reason=f"about {other} servers: LOANLOOP_TEST_BACKEND={other} runs it")
                )
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in ("integration", "e2e"):
            item.add_marker(folder)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(SERVERS_TIMEOUT_S))


@pytest.fixture(scope="session")
async def infrastructure() -> AsyncIterator[Backend]:
    async with support.running_backend() as backend:
        await support.make_template(backend)
        yield backend


@pytest.fixture
async def own_infrastructure() -> AsyncIterator[Backend]:
    async with support.running_backend() as backend:
        await support.make_template(backend)
        yield backend


@pytest.fixture
async def database(infrastructure: Backend) -> AsyncIterator[str]:
    async with support.fresh_database(infrastructure) as dsn:
        yield dsn
        await infrastructure.stop_services()


@pytest.fixture
async def topics(infrastructure: Backend) -> str:
    await support.delete_topics(infrastructure.kafka_bootstrap)
    await create_topics(infrastructure.kafka_bootstrap)
    return infrastructure.kafka_bootstrap


@pytest.fixture
def topic_prefix() -> str:
    return f"test-{uuid.uuid4().hex[:8]}."
