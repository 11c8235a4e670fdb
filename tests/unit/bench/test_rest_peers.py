"""A peer that is measured with several settings is judged by its best."""

from bench.peers.serving import goals_beside
from bench.rest_peers import REST_PEERS


def test_each_peer_has_one_goal_beside_its_best_setting() -> None:
    per_s = {"MLServer, no workers": 1000.0, "BentoML": 800.0}
    rates = [per_s.get(peer.name, 1600.0) for peer in REST_PEERS]

    goals = {goal.what: goal for goal in goals_beside("requests/s", REST_PEERS, rates, 1600.0)}

    assert [(what, goal.value, goal.reached) for what, goal in goals.items()] == [
        ("requests/s / MLServer", 1.0, False),
        ("requests/s / BentoML", 2.0, True),
        ("requests/s / mlflow models serve", 1.0, False),
    ]


def test_a_setting_that_does_not_run_leaves_the_others_and_a_peer_that_does_not_run_is_not_reached() -> None:
    rates = [500.0 if peer.name == "MLServer, no workers" else 0.0 for peer in REST_PEERS]

    mlserver, bentoml, _ = goals_beside("requests/s", REST_PEERS, rates, 1600.0)

    assert (mlserver.value, mlserver.reached) == (3.2, True)
    assert (bentoml.value, bentoml.reached) == (None, False)
