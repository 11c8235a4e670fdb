"""By its exit code a service says whether another start may help; `up` goes by it."""

import asyncio

import pytest
import structlog
from loanloop_common import lifecycle
from loanloop_common.errors import LoanloopError, Unavailable
from loanloop_common.lifecycle import run_service
from loanloop_common.portfolio_file import PortfolioInvalid
from loanloop_common.settings import ServiceSettings


@pytest.mark.parametrize(
    ("error", "code"), [(PortfolioInvalid("mine.toml", "there is no such file"), 2), (Unavailable("it restarts"), 1)]
)
def test_what_is_away_for_now_asks_for_another_start_and_a_wrong_file_for_the_operator(
    error: LoanloopError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: str) -> None:
        raise error

    async def build(_: object) -> list[lifecycle.Part]:
        return []

    monkeypatch.setattr(lifecycle, "load_portfolio", fail)

    assert run_service("trainer", ServiceSettings, build) == code
    assert capsys.readouterr().err == f"loanloop-trainer: {error}\n"


async def test_the_line_of_a_service_that_waits_has_a_reason_also_where_the_error_says_nothing() -> None:
    async def too_slow() -> None:
        stop.set()
        raise TimeoutError

    stop = asyncio.Event()
    with structlog.testing.capture_logs() as lines, pytest.raises(lifecycle.StopAsked):
        await lifecycle.waited_for("the database", too_slow, stop)

    assert [(line["event"], line["error"]) for line in lines] == [("waiting", "no answer in time")]
