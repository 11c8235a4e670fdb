"""The fixtures. `pytest_plugins = ["loanloop.testing"]` in a conftest.py at the top brings them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from loanloop_common.errors import LoanloopError
from loanloop_common.events import LoanScored, Topic

from loanloop.testing.answers import Refusal
from loanloop.testing.running import BACKENDS, Event, Running, running
from loanloop.testing.throwaway_model import N_LOANS, made_up_loan


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("loanloop").addoption(
        "--loanloop-backend",
        choices=list(BACKENDS),
        default="containers",
        help="What the fixture `loanloop` runs on: Kafka and PostgreSQL in containers, which needs a Docker engine, or "
        "embedded as child processes, as in `loanloop up`.",
    )


@dataclass(frozen=True)
class Loanloop:
    """A running loanloop with a live model. Each `wait_…` returns as soon as it can, and fails the test at the latest
    after `within_s`; at once, with loanloop's own words, where the event was refused.

    Calls may come from ordinary and from async tests: loanloop runs in a thread and processes of its own.
    """

    _portal: BlockingPortal
    _running: Running

    @property
    def kafka(self) -> str:
        """HOST:PORT, plain text; the topics are those of production."""
        return self._running.installation.kafka_bootstrap

    @property
    def rest_url(self) -> str:
        return self._running.installation.rest_url

    def produce(self, *events: Event, topic: str = Topic.LOAN_RECEIVED) -> None:
        """Sends the events as JSON and returns when Kafka has acknowledged them."""
        self._portal.call(self._running.produce, topic, events)

    def made_up_loan(self, number: int) -> dict[str, Any]:
        """A valid `loan.received` of the portfolio, the same for the same number, from 0 on."""
        return made_up_loan(self._running.portfolio, N_LOANS + number)

    def wait_for_decision(self, event_id: str | UUID, *, within_s: float = 30) -> LoanScored:
        """What `loan.scored` says of the loan with this event_id."""
        return self._portal.call(self._running.decision, UUID(str(event_id)), within_s)

    def wait_until_stored(self, event_id: str | UUID, *, within_s: float = 30) -> None:
        """For outcomes, and loans with an outcome, which are not decided."""
        self._portal.call(self._running.stored, UUID(str(event_id)), within_s)

    def wait_for_refusal(self, event_id: str | UUID, *, within_s: float = 30) -> Refusal:
        """The dead letter of this event: which rule it broke."""
        return self._portal.call(self._running.refusal, UUID(str(event_id)), within_s)

    @property
    def refusals(self) -> list[Refusal]:
        """All dead letters so far."""
        return [*self._running.answers.refusals]


@pytest.fixture(scope="session")
def loanloop_portfolio() -> str:
    """Name of a preset or path of a portfolio file; override it for loans of your own."""
    return "sba"


@pytest.fixture(scope="session")
def loanloop(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, loanloop_portfolio: str
) -> Iterator[Loanloop]:
    """A running loanloop, started once for all tests that ask for it and stopped at their end."""
    folder = tmp_path_factory.mktemp("loanloop")
    backend = pytestconfig.getoption("--loanloop-backend")
    with start_blocking_portal() as portal:
        context = portal.wrap_async_context_manager(running(backend, loanloop_portfolio, folder))
        try:
            with context as started:
                yield Loanloop(portal, started)
        except (LoanloopError, AssertionError) as problem:
            raise pytest.fail.Exception(f"loanloop cannot run on {backend}: {problem}", pytrace=False) from None
