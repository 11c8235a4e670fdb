"""Which version may become live, and how. The caller holds the slot's lock, so that what is live cannot change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loanloop_common.errors import LoanloopError

Kind = Literal["deploy", "promote", "rollback", "unpin"]


class DeploymentRefused(LoanloopError):
    """What an operator asked for cannot be done; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Live:
    """The deployment that holds now."""

    version: str
    deployment_seq: int
    pinned: bool


@dataclass(frozen=True, slots=True)
class PastDeployment:
    deployment_seq: int
    version: str
    kind: Kind
    previous: str | None


@dataclass(frozen=True, slots=True)
class PlannedDeployment:
    """What to write: `version` becomes live."""

    version: str
    kind: Kind
    pinned: bool
    previous: str | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version newer than any that has been live. `judged_seq` is the deployment it was judged against (0: none)."""

    version: str
    number: int
    passed: bool | None
    judged_seq: int | None


def seq_of(live: Live | None) -> int:
    return live.deployment_seq if live else 0


def to_judge(candidates: Sequence[Candidate], live: Live | None) -> list[Candidate]:
    """In the order of judging: who has no verdict, oldest first; then, newest first, who passed against what was
    live before and could be deployed if it passes again. A rejection is final."""
    unjudged = [c for c in candidates if c.passed is None]
    outdated = [c for c in candidates if c.passed and c.judged_seq != seq_of(live) and not (live and live.pinned)]
    return sorted(unjudged, key=lambda c: c.number) + sorted(outdated, key=lambda c: -c.number)


def automatic(version: str, live: Live | None) -> PlannedDeployment | None:
    """Of a challenger that passed; None while an operator's pin holds."""
    if live is not None and live.pinned:
        return None
    return PlannedDeployment(version, "deploy", pinned=False, previous=live.version if live else None)


def promotion(version: str, live: Live | None) -> PlannedDeployment:
    """An operator overrules the gate. A pin stays until it is taken off."""
    if live is not None and live.version == version:
        raise DeploymentRefused(f"{version} is live already")
    return PlannedDeployment(
        version, "promote", pinned=live is not None and live.pinned, previous=live.version if live else None
    )


def rollback(version: str | None, live: Live | None, past: Sequence[PastDeployment]) -> PlannedDeployment:
    """To `version`, or to the one that was live before the live one first came. Pins."""
    if live is None:
        raise DeploymentRefused("nothing is live yet, so there is nothing to roll back")
    target = version if version is not None else _version_before(live.version, past)
    if target is None:
        raise DeploymentRefused(f"{live.version} is the first version that was live; there is none before it")
    if target == live.version:
        raise DeploymentRefused(f"{target} is live already")
    if target not in {p.version for p in past}:
        raise DeploymentRefused(f"{target} has never been live; to make it live run: loanloop promote {target}")
    return PlannedDeployment(target, "rollback", pinned=True, previous=live.version)


def unpinning(live: Live | None) -> PlannedDeployment:
    if live is None or not live.pinned:
        raise DeploymentRefused("no version is pinned; challengers that pass are deployed already")
    return PlannedDeployment(live.version, "unpin", pinned=False, previous=live.version)


def _version_before(version: str, past: Sequence[PastDeployment]) -> str | None:
    # A second rollback goes further back, instead of forward to what the first one left.
    came = [p for p in past if p.version == version and p.kind in ("deploy", "promote")]
    return max(came, key=lambda p: p.deployment_seq).previous if came else None


def left_by_rollback(past: Sequence[PastDeployment]) -> str | None:
    """The version that the rollback left whose target is still live; None where there was none."""
    chosen = [p for p in past if p.kind != "unpin"]
    newest = max(chosen, key=lambda p: p.deployment_seq, default=None)
    return newest.previous if newest and newest.kind == "rollback" else None


VersionState = Literal["live", "pinned", "candidate", "rejected", "superseded"]


def state_of(number: int, *, passed: bool | None, periods: Sequence[bool | None], newest_deployed: int) -> VersionState:
    """`periods`: of each time it was live, None if that is over, else whether it is pinned."""
    now = [pinned for pinned in periods if pinned is not None]
    if now:
        return "pinned" if now[-1] else "live"
    if not periods and passed is False:
        return "rejected"
    return "superseded" if periods or number < newest_deployed else "candidate"
