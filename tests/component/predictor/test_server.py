"""REST's server itself, asked over a real connection."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from loanloop_predictor.api import RestServer, make_api
from loanloop_predictor.api.access import Access
from loanloop_predictor.api.connections import MAX_HEAD_BYTES, MAX_PIPELINED
from loanloop_predictor.domain.access import RateLimit

from tests.support.eventually import eventually
from tests.support.loans import as_bytes, make_loan
from tests.support.rest_in_memory import FakeDecider, api_in_memory

UPGRADE = b"GET /alive HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.mark.parametrize(("sent", "answered"), [(UPGRADE, b"200"), (b"no request\r\n\r\n", b"400")])
async def test_nobody_without_a_key_fills_the_log_with_requests_that_are_none(
    sent: bytes, answered: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="uvicorn.error")  # what it was comes back after the test
    api = make_api(api_in_memory(FakeDecider()), Access(RateLimit(per_s=0, burst=1)))
    server = RestServer(api, host="127.0.0.1", port=0, head_within_s=10, drain_s=1)
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(sent)
        assert (await reader.readline()).split()[1] == answered
        writer.close()
    finally:
        await server.stop()

    # Of the server alone: what an earlier test began, an exporter of spans, say, may still say something.
    said = [record for record in caplog.records if record.name.startswith("uvicorn")]
    assert [record.getMessage() for record in said if record.levelno >= logging.WARNING] == []


HEAD_WITHIN_S = 0.5
UVICORN_CLOSES_AFTER_S = 5  # without a word after an answer
CLOSED_WITHIN_S = 20  # uvicorn by itself closes none of these; the machine may be busy
ALIVE = b"GET /alive HTTP/1.1\r\nHost: a\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def serving(decider: FakeDecider, *, head_within_s: float = HEAD_WITHIN_S) -> AsyncIterator[str]:
    server = RestServer(
        make_api(api_in_memory(decider)), host="127.0.0.1", port=0, head_within_s=head_within_s, drain_s=1
    )
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


async def connected(url: str) -> Connection:
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def alive(connection: Connection, rest: bytes = b"\r\n") -> None:
    reader, writer = connection
    writer.write(ALIVE + rest)
    assert (await reader.readuntil(b"}")).split()[1] == b"200"


async def is_closed(connection: Connection) -> bool:
    """With nothing said, whether the other side has ended it or thrown it away."""
    async with asyncio.timeout(CLOSED_WITHIN_S):
        with contextlib.suppress(ConnectionError):
            assert await connection[0].read() == b""
    connection[1].close()
    return True


async def answers_until_it_is_closed(connection: Connection) -> int:
    answered = b""
    async with asyncio.timeout(CLOSED_WITHIN_S):
        with contextlib.suppress(ConnectionError):
            while read := await connection[0].read(65_536):
                answered += read
    connection[1].close()
    return answered.count(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", ALIVE, b"\r\n", b"G"])
async def test_a_connection_without_a_whole_head_is_closed(sent: bytes) -> None:
    async with serving(FakeDecider()) as url:
        connection = await connected(url)
        connection[1].write(sent)
        assert await is_closed(connection)


async def test_half_a_head_after_an_answer_closes_as_one_before_it() -> None:
    async with serving(FakeDecider()) as url:
        connection = await connected(url)
        await alive(connection)
        connection[1].write(ALIVE)
        assert await is_closed(connection)


@pytest.mark.parametrize("before", [b"", b"Content-Length: 1000000\r\n\r\n"])
async def test_who_goes_on_sending_and_asks_nothing_is_cut_off(before: bytes) -> None:
    """A byte now and then: of a head, or of the body of what is answered already."""
    async with serving(FakeDecider()) as url:
        connection = await connected(url)
        if before:
            await alive(connection, before)
        else:
            connection[1].write(ALIVE + b"X: ")

        async def drip() -> None:
            while True:
                connection[1].write(b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await is_closed(connection)
        dripping.cancel()


async def test_a_head_without_end_is_not_kept() -> None:
    async with serving(FakeDecider(), head_within_s=600) as url:
        connection = await connected(url)
        connection[1].write(ALIVE + b"X: " + b"x" * MAX_HEAD_BYTES)
        assert await is_closed(connection)


async def test_who_asks_ever_on_without_waiting_for_answers_is_closed() -> None:
    async with serving(FakeDecider(), head_within_s=600) as url:
        connection = await connected(url)
        connection[1].write((ALIVE + b"\r\n") * (MAX_PIPELINED + 3))
        assert await answers_until_it_is_closed(connection) < MAX_PIPELINED + 3


async def test_some_requests_in_one_go_are_answered_one_after_another() -> None:
    async with serving(FakeDecider()) as url:
        connection = await connected(url)
        connection[1].write((ALIVE + b"\r\n") * (MAX_PIPELINED - 2))
        for _ in range(MAX_PIPELINED - 2):
            assert (await connection[0].readuntil(b"}")).split()[1] == b"200"
        connection[1].close()


@pytest.mark.parametrize("trailers", [b"a:b\r\n" * MAX_HEAD_BYTES, b"a: " + b"x" * 4 * MAX_HEAD_BYTES])
async def test_trailers_without_end_are_not_kept(trailers: bytes) -> None:
    async with serving(FakeDecider(), head_within_s=600) as url:
        connection = await connected(url)
        began = time.monotonic()
        connection[1].write(ALIVE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + trailers)
        await answers_until_it_is_closed(connection)
        assert time.monotonic() - began < UVICORN_CLOSES_AFTER_S


async def test_a_body_in_small_chunks_is_read() -> None:
    body = as_bytes(make_loan(1))
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    async with serving(FakeDecider()) as url:
        reader, writer = await connected(url)
        writer.write(b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        assert (await reader.readuntil(b"}")).split()[1] == b"200"
        writer.close()


BODY = as_bytes(make_loan(1))
# As Java's client sends it with each request that is not made over TLS.
ASKS_FOR_HTTP_2 = (
    b"POST /predict HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: %d\r\nHost: a\r\n"
    b"HTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\nUser-Agent: Java\r\n\r\n"
) % len(BODY)


async def test_a_wish_for_another_protocol_is_ignored_and_the_body_read_wherever_a_read_ends() -> None:
    async with serving(FakeDecider(), head_within_s=600) as url:
        reader, writer = connection = await connected(url)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = ASKS_FOR_HTTP_2 + BODY
        for cut in (*range(1, len(request), 7), len(request)):
            writer.write(request[:cut])
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(request[cut:])
            assert (await reader.readuntil(b"}")).split()[1] == b"200"
        await alive(connection)
        writer.close()


async def test_two_wishes_in_one_read_are_ignored_and_a_proxy_is_refused() -> None:
    async with serving(FakeDecider(), head_within_s=600) as url:
        reader, writer = await connected(url)
        writer.write((ASKS_FOR_HTTP_2 + BODY) * 2)
        for _ in range(2):
            assert (await reader.readuntil(b"}")).split()[1] == b"200"
        writer.write(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()


async def test_who_asks_in_time_is_waited_for_however_long_the_answer_takes() -> None:
    decider = FakeDecider()
    async with serving(decider) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        assert (await client.get("/alive")).status_code == 200
        decider.may_answer.clear()
        asked = asyncio.create_task(client.post("/predict", json=make_loan(1)))
        await eventually(lambda: decider.n_asked == 1)
        await asyncio.sleep(2 * HEAD_WITHIN_S)
        decider.may_answer.set()
        assert (await asked).status_code == 200
        assert (await client.get("/alive")).status_code == 200


async def test_a_large_body_that_is_refused_at_once_is_still_read_so_that_its_sender_hears_why() -> None:
    async with serving(FakeDecider()) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        assert (await client.post("/predict", content=b" " * 3_000_000)).status_code == 413
