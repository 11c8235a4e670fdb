import pytest
from loanloop_evaluator.domain.deployment import (
    Candidate,
    DeploymentRefused,
    Kind,
    Live,
    PastDeployment,
    PlannedDeployment,
    automatic,
    left_by_rollback,
    promotion,
    rollback,
    state_of,
    to_judge,
    unpinning,
)

V2 = Live("v2", 2, pinned=False)
V2_PINNED = Live("v2", 7, pinned=True)


def past(*steps: tuple[str, Kind]) -> list[PastDeployment]:
    previous = [None, *(version for version, _ in steps)]
    return [PastDeployment(n + 1, version, kind, previous[n]) for n, (version, kind) in enumerate(steps)]


def test_a_challenger_that_passed_follows_the_champion() -> None:
    assert automatic("v3", V2) == PlannedDeployment("v3", "deploy", pinned=False, previous="v2")
    assert automatic("v1", None) == PlannedDeployment("v1", "deploy", pinned=False, previous=None)


def test_a_pin_keeps_it_out() -> None:
    assert automatic("v3", V2_PINNED) is None


def test_unjudged_versions_are_judged_oldest_first_and_a_rejection_is_final() -> None:
    unjudged = [Candidate("v4", 4, None, None), Candidate("v3", 3, None, None)]

    due = to_judge([*unjudged, Candidate("v5", 5, passed=False, judged_seq=1)], V2)

    assert [c.version for c in due] == ["v3", "v4"]


def test_who_passed_against_an_earlier_deployment_is_judged_again_newest_first() -> None:
    passed = [Candidate("v3", 3, passed=True, judged_seq=1), Candidate("v4", 4, passed=True, judged_seq=1)]

    assert [c.version for c in to_judge(passed, V2)] == ["v4", "v3"]
    assert to_judge(passed, V2_PINNED) == []
    assert to_judge([Candidate("v3", 3, passed=True, judged_seq=2)], V2) == []


def test_a_promotion_keeps_a_pin() -> None:
    assert promotion("v3", V2) == PlannedDeployment("v3", "promote", pinned=False, previous="v2")
    assert promotion("v3", V2_PINNED).pinned
    assert promotion("v1", None).previous is None


def test_a_rollback_goes_to_the_version_before_and_pins() -> None:
    history = past(("v1", "deploy"), ("v2", "deploy"))
    assert rollback(None, V2, history) == PlannedDeployment("v1", "rollback", pinned=True, previous="v2")


def test_a_second_rollback_goes_further_back_and_not_forward_again() -> None:
    history = past(("v1", "deploy"), ("v2", "deploy"), ("v3", "deploy"), ("v2", "rollback"))
    assert rollback(None, Live("v2", 4, pinned=True), history).version == "v1"


def test_a_rollback_to_a_named_version_needs_one_that_was_live() -> None:
    history = past(("v1", "deploy"), ("v3", "deploy"))
    live = Live("v3", 2, pinned=False)

    assert rollback("v1", live, history).version == "v1"
    with pytest.raises(DeploymentRefused, match=r"v2 has never been live; .* loanloop promote v2"):
        rollback("v2", live, history)
    with pytest.raises(DeploymentRefused, match="v3 is live already"):
        rollback("v3", live, history)


def test_there_is_nothing_before_the_first_version() -> None:
    with pytest.raises(DeploymentRefused, match="v1 is the first version"):
        rollback(None, Live("v1", 1, pinned=False), past(("v1", "deploy")))
    with pytest.raises(DeploymentRefused, match="nothing is live yet"):
        rollback(None, None, [])


def test_unpin_keeps_the_version() -> None:
    assert unpinning(V2_PINNED) == PlannedDeployment("v2", "unpin", pinned=False, previous="v2")
    for live in (V2, None):
        with pytest.raises(DeploymentRefused, match="no version is pinned"):
            unpinning(live)


@pytest.mark.parametrize(
    ("number", "passed", "periods", "state"),
    [
        (2, True, [False], "live"),
        (2, True, [None, True], "pinned"),
        (1, True, [None], "superseded"),
        (3, None, [], "candidate"),
        (3, True, [], "candidate"),
        (3, False, [], "rejected"),
        (1, False, [], "rejected"),
        (1, None, [], "superseded"),
        (3, False, [False], "live"),
    ],
)
def test_states(number: int, passed: bool | None, periods: list[bool | None], state: str) -> None:
    assert state_of(number, passed=passed, periods=periods, newest_deployed=2) == state


def test_after_a_rollback_is_unpinned_the_version_it_left_is_known() -> None:
    steps: list[tuple[str, Kind]] = [("v1", "deploy"), ("v2", "deploy"), ("v1", "rollback"), ("v1", "unpin")]

    assert left_by_rollback(past(*steps)) == "v2"
    assert left_by_rollback(past(*steps, ("v3", "deploy"))) is None
    assert left_by_rollback([]) is None
