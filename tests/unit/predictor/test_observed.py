"""What is counted of a request."""

import pytest
from loanloop_common.telemetry import REGISTRY
from loanloop_predictor.api.observed import Observed
from starlette.types import Message, Receive, Scope, Send


def counted(status: str) -> float:
    labels = {"route": "other", "status": status}
    return REGISTRY.get_sample_value("loanloop_http_request_duration_seconds_count", labels) or 0.0


async def nothing() -> Message:
    raise AssertionError("nothing is asked")


async def ignored(_message: Message) -> None: ...


async def test_client_that_was_gone_is_no_failure_of_ours() -> None:
    async def answers_nobody(scope: Scope, receive: Receive, send: Send) -> None: ...

    before = counted("499"), counted("500")
    await Observed(answers_nobody)({"type": "http"}, nothing, ignored)

    assert (counted("499"), counted("500")) == (before[0] + 1, before[1])


async def test_error_that_nobody_answers_is_one() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    before = counted("500")
    with pytest.raises(RuntimeError, match="broken"):
        await Observed(breaks)({"type": "http"}, nothing, ignored)

    assert counted("500") == before + 1
