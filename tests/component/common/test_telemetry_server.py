"""The server of /metrics and /health, asked over its real socket."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator

import httpx
import pytest
from loanloop_common.listening import PortTaken
from loanloop_common.telemetry import count
from loanloop_common.telemetry_server import TelemetryServer

from tests.support.eventually import eventually

States = dict[str, str]


@pytest.fixture
def states() -> States:
    return {"loans": "consuming", "outbox": "looking"}


@pytest.fixture
async def server(states: States) -> AsyncIterator[TelemetryServer]:
    server = TelemetryServer(lambda: states, host="127.0.0.1", port=0)
    await server.start()
    yield server
    await server.stop()


async def get(server: TelemetryServer, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=server.url, timeout=5) as client:
        return await client.get(path)


async def test_metrics_are_in_prometheus_text_format(server: TelemetryServer) -> None:
    count("loanloop_events_stored_total", 3, topic="test_telemetry_server")

    answer = await get(server, "/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'loanloop_events_stored_total{topic="test_telemetry_server"} 3.0' in answer.text
    assert "process_resident_memory_bytes" in answer.text


async def test_service_is_well_while_every_part_is_at_work(server: TelemetryServer) -> None:
    answer = await get(server, "/health")

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


async def test_part_that_is_not_at_work_is_named(server: TelemetryServer, states: States) -> None:
    states["loans"] = "retrying"

    answer = await get(server, "/health")

    assert (answer.status_code, answer.json()["status"]) == (503, "degraded")
    assert answer.json()["not_at_work"] == {"loans": "retrying"}


async def test_service_is_alive_while_its_event_loop_turns(states: States) -> None:
    server = TelemetryServer(lambda: states, host="127.0.0.1", port=0, stands_after_s=0.3)
    await server.start()
    states["loans"] = "retrying"

    async def is_alive() -> bool:
        return (await get(server, "/alive")).status_code == 200

    try:
        await asyncio.sleep(0.4)
        assert await eventually(is_alive)
        threading.Event().wait(0.4)  # the loop stands
        stands = httpx.get(f"{server.url}/alive", timeout=5)  # noqa: ASYNC210  # as above
        assert (stands.status_code, stands.json()["status"]) == (503, "stands still")
        assert httpx.head(f"{server.url}/alive", timeout=5).status_code == 503  # noqa: ASYNC210  # as above

        assert await eventually(is_alive)
    finally:
        await server.stop()


async def test_any_other_path_is_not_found(server: TelemetryServer) -> None:
    assert (await get(server, "/")).status_code == 404


async def test_client_that_says_nothing_holds_up_nobody(server: TelemetryServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    _, silent = await asyncio.open_connection(host, int(port))
    try:
        assert (await get(server, "/health")).status_code == 200
    finally:
        silent.close()


async def test_port_that_is_taken_is_said_with_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port} .*set LOANLOOP_TELEMETRY__PORT to a free port"):
            TelemetryServer(dict, host="127.0.0.1", port=port)


async def test_port_is_free_again_after_the_end(states: States) -> None:
    server = TelemetryServer(lambda: states, host="127.0.0.1", port=0)
    port = int(server.url.rpartition(":")[2])
    await server.start()
    await get(server, "/health")
    await server.stop()

    async def is_free() -> bool:
        again = TelemetryServer(lambda: states, host="127.0.0.1", port=port)
        await again.stop()
        return True

    await eventually(is_free)
    assert server.state == "stopped"
