"""Who may ask what of REST. Pure: time and random bytes are arguments."""

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum

from loanloop_common.errors import LoanloopError


class Unauthenticated(LoanloopError):
    """The request names nobody that is known here: 401."""


class Forbidden(LoanloopError):
    """It names somebody who may not do this: 403."""


class TooManyRequests(LoanloopError):
    """This caller's share is used up for now: 429."""

    def __init__(self, who: str, per_s: float, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(f"{who} sends more than {per_s:g} requests a second; send it again in {wait_s:.1f} s")


class Role(StrEnum):
    """Each may do what those before it may."""

    READ = "read"
    SCORE = "score"
    OPERATE = "operate"

    def includes(self, other: "Role") -> bool:
        return self is other or _RANKS[self] >= _RANKS[other]  # mostly they are the same, and an enum's hash is slow


_RANKS = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` stands in the log beside what was done: `key ID`, or `token of 'SUBJECT'`."""

    name: str
    role: Role


# A route that is not named here needs the role of its method: one that was forgotten is not open.
_NEEDED: dict[tuple[str, str], Role | None] = {
    ("GET", "/health"): None,
    ("GET", "/alive"): None,
    ("POST", "/predict"): Role.SCORE,
    ("POST", "/predict/batch"): Role.SCORE,
}
_OF_METHOD = {"GET": Role.READ}


def role_needed(method: str, path: str, *, is_metrics_open: bool) -> Role | None:
    """None: open to everybody."""
    method = "GET" if method == "HEAD" else method
    if is_metrics_open and (method, path) == ("GET", "/metrics"):
        return None
    return _NEEDED.get((method, path), _OF_METHOD.get(method, Role.OPERATE))


def check_role(caller: Caller, needed: Role, method: str, path: str) -> None:
    """Raises Forbidden."""
    if not caller.role.includes(needed):
        raise Forbidden(
            f"{caller.name} has the role {caller.role}, and {method} {path} needs {needed}: use a key that has it"
        )


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimit:
    """A bucket for each caller: `burst` requests at once, refilled by `per_s`. `per_s` = 0: no limit."""

    _FORGET_FROM = 10_000  # callers: whoever issues tokens may name any number of them

    def __init__(self, *, per_s: float, burst: int) -> None:
        self._per_s, self._burst = per_s, float(burst)
        self._buckets: dict[str, _Bucket] = {}

    def take(self, who: str, now: float) -> None:
        """Raises TooManyRequests."""
        if not self._per_s:
            return
        bucket = self._buckets.get(who) or self._new(who, now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._per_s)
        bucket.filled_at = now
        if bucket.tokens < 1:
            raise TooManyRequests(who, self._per_s, (1 - bucket.tokens) / self._per_s)
        bucket.tokens -= 1

    def _new(self, who: str, now: float) -> _Bucket:
        if len(self._buckets) >= self._FORGET_FROM:
            full_after_s = self._burst / self._per_s
            self._buckets = {name: one for name, one in self._buckets.items() if now - one.filled_at < full_after_s}
        bucket = self._buckets[who] = _Bucket(self._burst, now)
        return bucket


def sha256_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()


def is_same(left: bytes, right: bytes) -> bool:
    """In a time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)
