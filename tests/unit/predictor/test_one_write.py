"""An answer leaves in one packet. uvicorn's protocol on a transport that notes what is written to it."""

import asyncio
from typing import Any

import pytest
import uvicorn
from loanloop_predictor.api.one_write import OneWriteProtocol
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from tests.support.eventually import eventually


class Noting(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    async def parts() -> Any:
        yield "one"
        yield "two"

    async def broken() -> Any:
        yield "one"
        raise ValueError

    answers: dict[str, Response] = {"/parts": StreamingResponse(parts()), "/broken": StreamingResponse(broken())}
    body = await Request(scope, receive).body()
    await answers.get(scope["path"], PlainTextResponse(b"got " + body))(scope, receive, send)


@pytest.fixture
def transport() -> Noting:
    return Noting()


@pytest.fixture
async def protocol(transport: Noting) -> OneWriteProtocol:
    config = uvicorn.Config(app, http=OneWriteProtocol, lifespan="off", log_config=None)
    config.load()
    protocol = OneWriteProtocol(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(transport)
    return protocol


POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"


async def test_head_and_body_are_one_write(protocol: OneWriteProtocol, transport: Noting) -> None:
    for n_answers in (1, 2):
        protocol.data_received(POST + b"\r\nhi")
        await eventually(lambda n=n_answers: len(transport.written) == n)  # type: ignore[misc]
    for answer in transport.written:
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\ngot hi")


async def test_requests_sent_without_waiting_are_answered_in_order(
    protocol: OneWriteProtocol, transport: Noting
) -> None:
    protocol.data_received(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + POST + b"\r\n1." + POST + b"\r\n2.")
    await eventually(lambda: len(transport.written) == 3)
    assert [answer.partition(b"\r\n\r\n")[2] for answer in transport.written] == [b"", b"got 1.", b"got 2."]


async def test_leave_to_send_the_body_comes_before_the_head(protocol: OneWriteProtocol, transport: Noting) -> None:
    protocol.data_received(POST + b"Expect: 100-continue\r\n\r\n")
    await eventually(lambda: transport.written)
    assert transport.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    protocol.data_received(b"hi")
    await eventually(lambda: len(transport.written) == 2)
    assert transport.written[1].endswith(b"got hi")


async def test_answer_in_parts_is_sent_in_parts(protocol: OneWriteProtocol, transport: Noting) -> None:
    protocol.data_received(b"GET /parts HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: transport.written and transport.written[-1].endswith(b"0\r\n\r\n"))
    assert transport.written[0].endswith(b"\r\n\r\n3\r\none\r\n")
    assert transport.written[1] == b"3\r\ntwo\r\n"


async def test_answer_that_breaks_off_ends_the_connection(protocol: OneWriteProtocol, transport: Noting) -> None:
    protocol.data_received(b"GET /broken HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: transport.closed)
    assert b"one" in transport.written[0]
    assert not transport.written[-1].endswith(b"0\r\n\r\n")
