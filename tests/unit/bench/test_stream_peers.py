"""A peer of the stream that is measured with several settings is judged by its best."""

from typing import Any

from bench.peers.serving import goals_beside
from bench.stream_peers import STREAM_PEERS, rows_of


def test_each_peer_of_the_stream_has_one_goal_beside_its_best_setting() -> None:
    per_s = {"MLServer Kafka, no workers": 500.0, "Faust": 2000.0, "Quix Streams": 0.0}
    rates = [per_s.get(peer.name, 1000.0) for peer in STREAM_PEERS]

    goals = [(goal.what, goal.value, goal.reached) for goal in goals_beside("stream", STREAM_PEERS, rates, 20_000.0)]

    assert goals == [
        ("stream / MLServer Kafka", 20.0, True),
        ("stream / Faust", 10.0, True),
        ("stream / Quix Streams", None, False),
    ]


def test_a_peer_that_does_not_run_has_no_ratio() -> None:
    rows: list[dict[str, Any]] = [{"what": "a", "note": "it ended"}, {"what": "b", "loans_per_s": 500.0}]

    assert rows_of(rows, 1000.0) == [rows[0], {"what": "b", "loans_per_s": 500.0, "ratio": 0.5}]
