"""What the peers that serve have in common, over REST or from topic to topic, and how they are judged."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.result import Goal


@dataclass(frozen=True)
class ServingPeer:
    """One of several settings has the peer's name with more behind it. `arguments`: of its program, after the port."""

    name: str
    installed_as: str
    program: str
    scored_by: str
    goal: float  # so many times its rate
    arguments: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def peer(self) -> str:
        return self.name.partition(",")[0]


def installations(peers: Sequence[ServingPeer]) -> tuple[str, ...]:
    """Each once."""
    return tuple(dict.fromkeys(peer.installed_as for peer in peers))


def goals_beside(what: str, peers: Sequence[ServingPeer], rates: Sequence[float], ours: float) -> list[Goal]:
    """How many times a peer's rate ours is, by its best setting of those that were measured.

    `rates`: one for each of `peers`, 0 where it does not run here; a peer of which none runs is not reached.
    """
    best: dict[str, float] = {}
    bounds = {peer.peer: peer.goal for peer in peers}
    for peer, rate in zip(peers, rates, strict=True):
        best[peer.peer] = max(best.get(peer.peer, 0.0), rate)
    return [Goal(f"{what} / {name}", ours / rate if rate else None, bounds[name]) for name, rate in best.items()]
