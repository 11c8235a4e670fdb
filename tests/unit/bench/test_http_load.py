"""How answers to a load are counted: one that is late or never comes must not get lost between two times."""

import asyncio

import numpy as np
import pytest

from bench import http_load
from bench.http_load import Answers, Load
from bench.swap import row_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def answers(*noted: tuple[float, float, int]) -> Answers:
    """Each with when it came, its latency and its status."""
    ended_at, latency_s, status = np.array(noted).T
    return Answers(ended_at, latency_s, status.astype(np.int64), 0.0)


def test_a_request_counts_for_each_time_that_a_part_of_its_waiting_falls_on() -> None:
    noted = answers((1.0, 0.5, 200), (2.5, 0.1, 200), (3.2, 0.5, 200), (3.4, 0.1, 200), (9.0, 6.5, 200))

    assert noted.between((2.0, 3.0)).ended_at.tolist() == [2.5, 3.2, 9.0]
    assert noted.between((0.0, 0.6), (3.3, 3.5)).ended_at.tolist() == [1.0, 3.4, 9.0]


def test_requests_that_are_never_answered_are_failed_and_late_in_the_time_in_which_they_were_due() -> None:
    good = [(i / 10, 0.002, 200) for i in range(1, 50)]
    never = [(35.0, 32.0, 0)] * 5

    row = row_of("steady", answers(*good, *never), [(1.0, 4.95)])

    assert (row["failed"], row["late"]) == (5, 5)
    assert row["p99_ms"] > 1000
    assert row["requests_per_s"] == pytest.approx(10, rel=0.05)


def test_only_answers_with_status_200_are_throughput() -> None:
    noted = answers((1.0, 0.1, 200), (2.0, 0.1, 500), (3.0, 0.1, 200), (4.0, 0.1, 0), (5.0, 0.1, 200))

    assert noted.per_s == 0.5
    assert noted.n_good_within((1.5, 3.5), (4.5, 6.0)) == 2
    assert answers((1.0, 0.1, 500), (2.0, 0.1, 500)).per_s == 0


async def test_what_a_server_leaves_unanswered_is_noted_as_failed_since_it_was_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It answers the first three requests, hangs up on the fourth, and says nothing more."""
    n_seen = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_seen
        while (head := await reader.read(4096)) and b"POST" in head:
            n_seen += 1
            if n_seen <= 3:
                writer.write(OK)
            elif n_seen == 4:
                break
        writer.close()

    monkeypatch.setattr(http_load, "_ANSWER_WITHIN_S", 0.3)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        load = Load(f"http://127.0.0.1:{port}", "/", clients=3, seconds=0.2, rate=50)
        generator = http_load._Generator(load, [http_load._request(load, b"{}")])
        await generator.run()

    statuses = [status for _, _, status in generator.noted]
    assert statuses.count(200) == 3
    assert statuses.count(0) == len(statuses) - 3 >= 6  # ten are due, of which two are with clients, others wait
    longest = max(latency for _, latency, status in generator.noted if not status)
    assert 0.3 <= longest < 5
