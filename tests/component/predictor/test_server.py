"""REST's server itself, asked over a real connection."""

import asyncio
import logging

import pytest
from loanloop_predictor.api import RestServer, make_api
from loanloop_predictor.api.access import Access
from loanloop_predictor.domain.access import RateLimit

from tests.support.rest_in_memory import FakeDecider, api_in_memory

UPGRADE = b"GET /alive HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.mark.parametrize(("sent", "answered"), [(UPGRADE, b"200"), (b"no request\r\n\r\n", b"400")])
async def test_nobody_without_a_key_fills_the_log_with_requests_that_are_none(
    sent: bytes, answered: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="uvicorn.error")  # what it was comes back after the test
    api = make_api(api_in_memory(FakeDecider()), Access(RateLimit(per_s=0, burst=1)))
    server = RestServer(api, host="127.0.0.1", port=0, drain_s=1)
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(sent)
        assert (await reader.readline()).split()[1] == answered
        writer.close()
    finally:
        await server.stop()

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
