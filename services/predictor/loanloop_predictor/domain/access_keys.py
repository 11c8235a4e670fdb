"""API keys: `loanloop_ID_SECRET`, and the lines of the file that knows them by their hashes. Pure."""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property

from loanloop_common.errors import LoanloopError

from loanloop_predictor.domain.access import Caller, Role, Unauthenticated, is_same, sha256_of

PREFIX = "loanloop_"
SECRET_BYTES = 32
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ROLES = {str(role) for role in Role}
_NOBODY = bytes(32)
_NEVER = "never"
_HEADER = (
    "# API keys of loanloop: ID ROLE SHA-256 of the key, CREATED, EXPIRES. Written by `loanloop keys`; the keys are "
    "not in it.\n"
)
UNKNOWN = "this API key is not known here: it was mistyped, revoked, or made just now"
EXPIRED = "this API key has expired: ask for a new one, which `loanloop keys new` makes"


class KeysInvalid(LoanloopError):
    """The file of keys cannot be read, or a line of it is none."""


@dataclass(frozen=True)
class AccessKey:
    """`created`: None where its line was written before that was kept. From `expires` on, UTC, it is refused."""

    key_id: str
    role: Role
    sha256: bytes
    created: date | None = None
    expires: date | None = None

    @cached_property
    def caller(self) -> Caller:
        return Caller(f"key {self.key_id}", self.role)

    @cached_property
    def expires_at(self) -> float:
        """Seconds since 1970."""
        return datetime.combine(self.expires, time(), UTC).timestamp() if self.expires else float("inf")

    def line(self) -> str:
        dates = f" {self.created or _NEVER} {self.expires or _NEVER}" if self.created or self.expires else ""
        return f"{self.key_id} {self.role} {self.sha256.hex()}{dates}\n"


def make_key(
    key_id: str, role: Role, random: bytes, *, created: date | None = None, expires: date | None = None
) -> tuple[str, AccessKey]:
    """The key itself, and what is kept of it. Raises KeysInvalid."""
    if not _ID.fullmatch(key_id):
        raise KeysInvalid(f"key id {key_id!r} must be up to 40 lower-case letters, digits and dashes, such as web-shop")
    key = f"{PREFIX}{key_id}_{base64.urlsafe_b64encode(random).decode().rstrip('=')}"
    return key, AccessKey(key_id, role, sha256_of(key), created, expires)


def read_keys(text: str) -> dict[str, AccessKey]:
    """By their ids. Raises KeysInvalid, naming the line but not what is in it: it may be a key by mistake."""
    keys: dict[str, AccessKey] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if (
            len(parts) not in (3, 5)
            or not _ID.fullmatch(parts[0])
            or parts[1] not in _ROLES
            or not _SHA256.fullmatch(parts[2])
        ):
            raise KeysInvalid(
                f"line {number} must be ID, role ({', '.join(Role)}), a SHA-256 of 64 hex digits, and, where they are "
                "kept, the days it was made on and expires on"
            )
        if parts[0] in keys:
            raise KeysInvalid(f"line {number} has an id that an earlier line has: revoke it, and make one anew")
        keys[parts[0]] = AccessKey(parts[0], Role(parts[1]), bytes.fromhex(parts[2]), *_dates(parts[3:], number))
    return keys


def _dates(words: list[str], number: int) -> tuple[date | None, date | None]:
    try:
        created, expires = (None if word == _NEVER else date.fromisoformat(word) for word in words or [_NEVER] * 2)
    except ValueError:
        raise KeysInvalid(f"line {number} must end with two days, such as 2027-01-31, or {_NEVER}") from None
    return created, expires


def written(keys: Iterable[AccessKey]) -> str:
    return _HEADER + "".join(key.line() for key in keys)


def caller_of(key: str, keys: Mapping[str, AccessKey], now: float) -> Caller:
    """Raises Unauthenticated."""
    prefix, _, rest = key.partition("_")
    known = keys.get(rest.partition("_")[0]) if f"{prefix}_" == PREFIX else None
    # Of an id that is not there the same is computed: the time says nothing either.
    if not is_same(sha256_of(key), known.sha256 if known else _NOBODY) or known is None:
        raise Unauthenticated(UNKNOWN)
    if now >= known.expires_at:
        raise Unauthenticated(EXPIRED)
    return known.caller
